"""What a process keeps of the memory it has freed: counted in pages that the kernel had to hand out."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROUNDS, ARRAYS, MEGABYTES, PAGE = 5, 8, 8, 4096
COUNT = f"""
import resource, sys
import numpy as np
from ulmpipe.memory import keep_freed_memory

known = sys.argv[1] == "kept" and keep_freed_memory()

def fill_and_free():
    arrays = [np.ones({MEGABYTES} << 20, dtype=np.uint8) for _ in range({ARRAYS})]

fill_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    fill_and_free()
print(int(known), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(how: str) -> tuple[bool, int]:
    said = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
    known, counted = said.stdout.split()
    return known == "1", int(counted)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is asked")
def test_freed_arrays_are_filled_again_without_the_kernel() -> None:
    known, kept = pages("kept")
    if not known:
        pytest.skip("not glibc: its allocator cannot be asked")
    _, usual = pages("usual")
    once = ARRAYS * (MEGABYTES << 20) // PAGE
    if usual < once:
        pytest.skip("the kernel hands out large pages: nothing to count")
    assert kept < once // 10
