"""All measurements, one after the other: ``make bench``."""

import runpy

for name in ("speed", "scaling"):
    print(f"== {name}", flush=True)
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
