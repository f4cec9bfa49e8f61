"""All speed measurements, one after the other: ``make bench``."""

import runpy

for name in ("bench_acoustics", "bench_beamforming"):
    print(f"== {name}", flush=True)
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
