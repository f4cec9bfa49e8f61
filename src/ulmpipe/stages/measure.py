"""Stage 14: resolution, saturation and vessel widths of an acquisition, without a vessel picked by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.angiogram import register_maps
from ulmpipe.errors import InputError
from ulmpipe.evaluation.resolution import (
    RingCorrelation,
    block_halves,
    ring_correlation,
    summarise_resolution,
    track_halves,
)
from ulmpipe.evaluation.saturation import Saturation, fit_saturation, mean_filling
from ulmpipe.evaluation.vessel_widths import VesselWidths, vessel_mask, vessel_widths, width_distribution
from ulmpipe.figures.measures import ring_correlation_figure, saturation_figure, width_figure
from ulmpipe.io.stores import complete_or_absent, open_store, provenance, read_json, write_json
from ulmpipe.io.track_store import read_tracks
from ulmpipe.randomness import generator
from ulmpipe.stages._detections import operating_points_of, read_scores
from ulmpipe.stages._parameters import Parameters
from ulmpipe.track_maps import FineGrid, track_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("network", "expert")


def run(
    parameters: Parameters,
    *,
    angiogram: Path,
    network: Path,
    expert: Path,
    tracks: Path,
    maps: Path,
    shifts: Path,
    operating_points: Path,
    measures: Path,
    resolution: Path,
    saturation: Path,
    widths: Path,
) -> None:
    """Measure the images of network, expert and tracks alike; what cannot be measured is said and left out."""
    store, density = open_store(angiogram, *METHODS), open_store(maps, "density")["density"]
    pixel = store["network"].attrs["spacing"]["z"]
    drift = np.array(read_json(shifts)["shifts_pixels"])
    points = operating_points_of(operating_points, concentration_per_mm3=parameters["concentration_per_mm3"])
    wanted = parameters["measures"]
    # the same blocks in both halves for every method
    splits = partial(generator, parameters["seed"], "halves", parameters["name"])

    def block_maps(method: str) -> Iterator[NDArray[np.bool_]]:
        point = points[method]["accumulated"]
        found = (
            scores >= point["threshold"]
            for scores in read_scores({"network": network, "expert": expert}[method], point)
        )
        return register_maps(found, drift, upsampling=parameters["targets"]["upsampling"])

    images = {method: (store[method][0], pixel) for method in METHODS}
    images["tracks"] = (density[0], density.attrs["spacing"]["z"])
    interval = parameters["sequence"]["frames_per_block"] / parameters["sequence"]["frame_rate"]
    time = interval * np.arange(1, len(drift) + 1)
    curves: dict[str, RingCorrelation] = {}
    filled: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    fits: dict[str, Saturation] = {}
    measured: dict[str, VesselWidths] = {}
    left_out: dict[str, str] = {}

    @contextmanager
    def if_possible(name: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            left_out[name] = str(error)
            print(f"{name}: {error}")

    for method, (image, size) in images.items():
        with if_possible(f"resolution of {method}"):
            if method == "tracks":
                halves: Any = _track_halves(tracks, density, wanted["splits"], splits())
            else:
                halves = block_halves(block_maps(method), len(drift), n_splits=wanted["splits"], rng=splits())
            curves[method] = ring_correlation(halves, size, smoothing=wanted["ring_smoothing"])
        with if_possible(f"widths in {method}"):
            mask = vessel_mask(image, smoothing=wanted["mask_smoothing"])
            measured[method] = vessel_widths(image, mask, size)
        if method in METHODS:
            with if_possible(f"saturation of {method}"):
                filled[method] = (time, mean_filling(image, len(drift)))
                fits[method] = fit_saturation(*filled[method])
    write_json(
        measures,
        {
            "resolution": {method: summarise_resolution(curve) for method, curve in curves.items()},
            "saturation": {
                method: {"final": fit.final, "time_constant": fit.time_constant, "residual": fit.residual}
                for method, fit in fits.items()
            },
            "widths": {method: width_distribution(each) for method, each in measured.items()},
            "left_out": left_out,
            "provenance": provenance(
                "measure", parameters, angiogram, network, expert, tracks, maps, shifts, operating_points
            ),
        },
    )
    name = parameters["name"]
    for path, draw, content in (
        (resolution, partial(ring_correlation_figure, title=f"{name}: Fourier ring correlation"), curves),
        (saturation, partial(saturation_figure, fits=fits, title=f"{name}: filling of the image"), filled),
        (widths, partial(width_figure, title=f"{name}: vessel widths (FWHM)"), measured),
    ):
        with complete_or_absent(path) as temporary:
            _or_nothing(draw, content, left_out).savefig(temporary)


def _track_halves(tracks: Path, density: Any, n_splits: int, rng: np.random.Generator) -> Any:
    """Density maps of the halves of the tracks, whose numbers become those of the acquisition."""
    spacing, origin = density.attrs["spacing"], density.attrs["origin"]
    grid = FineGrid(
        shape=density.shape[1:], spacing=(spacing["z"], spacing["x"]), origin=(origin["z"], origin["x"])
    )
    n_tracks, blocks = 0, []
    for block in read_tracks(tracks):
        block["track"] += n_tracks
        n_tracks = int(block["track"].max(initial=n_tracks - 1)) + 1
        blocks.append(block)
    together = np.concatenate(blocks)
    return track_halves(together, lambda half: track_maps([half], grid).density, n_splits=n_splits, rng=rng)


def _or_nothing(draw: Any, content: dict[str, Any], left_out: dict[str, str]) -> Figure:
    """The figure, or a page that says why there is none."""
    if content:
        figure: Figure = draw(content)
        return figure
    from ulmpipe.figures.canvas import TEXT, dark_figure

    figure = dark_figure(10.0, 4.6, 130)
    figure.text(
        0.05, 0.5, "\n".join(f"{name}: {why}" for name, why in left_out.items()), color=TEXT, wrap=True
    )
    return figure
