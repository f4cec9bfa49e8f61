"""The GPU's inverse transform against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics.baseband import transform_radices
from ulmpipe.acoustics.transform_gpu import inverse_transform


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13, 64, 72, 96, 97, 104, 288, 385, 2100])
def test_it_sums_all_bins_at_every_sample(gpu, length):
    rng = np.random.default_rng(length)
    rows = rng.standard_normal((7, 3, length, 2), dtype=np.float32).view(np.complex64)[..., 0]
    samples = gpu.asarray(rows.copy())
    inverse_transform(samples)
    expected = np.fft.ifft(rows.astype(np.complex128), norm="forward")
    assert np.linalg.norm(samples.get() - expected) < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("length", [1, 12, 96, 97, 2310])
def test_the_radices_multiply_to_the_length(length):
    for first in (4, 8):
        assert np.prod(transform_radices(length, first=first), dtype=int) == length
