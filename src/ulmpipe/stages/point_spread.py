"""Stage 5: the point spread function of probe and sequence, simulated and beamformed like everything else."""

from __future__ import annotations

from pathlib import Path

from ulmpipe.beamforming.point_spread import point_spread_function
from ulmpipe.io.stores import new_array, new_store, provenance
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import carrier_wavenumber, focusing, probe_of, simulating, transmit_of, window_of


def run(parameters: Parameters, *, point_spread: Path) -> None:
    """Simulate a lone bubble at the elevation focus and write its image."""
    probe, image = probe_of(parameters), parameters["beamforming"]
    shape = tuple(parameters["correlation"]["point_spread_shape"])
    half_side = max(shape) * image["pixel"]
    start_time, n_samples = window_of(
        parameters,
        half_width=half_side,
        depth=probe.elevation_focus,
        half_height=half_side,
        half_thickness=0.0,
    )
    wavenumber = carrier_wavenumber(parameters)
    psf = point_spread_function(
        probe,
        transmit_of(parameters),
        grid_step=image["pixel"],
        shape=(shape[0], shape[1]),
        depth=probe.elevation_focus,
        wavenumber=wavenumber,
        start_time=start_time,
        n_samples=n_samples,
        **focusing(parameters),
        **simulating(parameters),
    )
    with new_store(point_spread, provenance=provenance("point_spread", parameters)) as store:
        array = new_array(
            store,
            "point_spread",
            shape=(1, *psf.shape),
            dtype="complex64",
            dims=("one", "z", "x"),
            units="1",
            spacing={"z": image["pixel"], "x": image["pixel"]},
            wavenumber=wavenumber,
        )
        array[0] = psf
