"""Stage 14: resolution, saturation and vessel widths of an acquisition, without a vessel picked by hand.

All of it of the whole field and of each region that has a name; the resolution of a grid of tiles beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.angiogram import register_maps
from ulmpipe.errors import InputError
from ulmpipe.evaluation.halves import Halves, block_halves, track_halves
from ulmpipe.evaluation.regions import LEAST_SIDE, WHOLE, Region, Tiles, cut_tiles, region_slices
from ulmpipe.evaluation.resolution import (
    LocalResolution,
    RingCorrelation,
    local_resolution,
    resolution_at,
    ring_correlations,
    summarise_resolution,
)
from ulmpipe.evaluation.saturation import Saturation, fit_saturation, mean_filling
from ulmpipe.evaluation.vessel_widths import (
    VesselWidths,
    vessel_mask,
    vessel_widths,
    width_distribution,
    widths_within,
)
from ulmpipe.figures.measures import (
    LocalPanel,
    local_resolution_figure,
    ring_correlation_figure,
    saturation_figure,
    width_figure,
)
from ulmpipe.io.stores import complete_or_absent, open_store, provenance, read_json, write_json
from ulmpipe.io.track_store import read_tracks
from ulmpipe.randomness import generator
from ulmpipe.stages._detections import operating_points_of, read_scores
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import extent_of
from ulmpipe.track_maps import FineGrid, track_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("network", "expert")
FIELD = ""  # the whole of it, among the names of regions


@dataclass
class _Measured:
    """What was measured in one part of the field, by method."""

    curves: dict[str, RingCorrelation] = field(default_factory=dict)
    filled: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    fits: dict[str, Saturation] = field(default_factory=dict)
    widths: dict[str, VesselWidths] = field(default_factory=dict)

    def numbers(self) -> dict[str, Any]:
        return {
            "resolution": {method: summarise_resolution(curve) for method, curve in self.curves.items()},
            "saturation": {
                method: {"final": fit.final, "time_constant": fit.time_constant, "residual": fit.residual}
                for method, fit in self.fits.items()
            },
            "widths": {method: width_distribution(each) for method, each in self.widths.items()},
        }


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
    local: Path,
) -> None:
    """Measure the images of network, expert and tracks alike; what cannot be measured is said and left out."""
    store, density = open_store(angiogram, *METHODS), open_store(maps, "density")["density"]
    arrays = {**{method: store[method] for method in METHODS}, "tracks": density}
    drift = np.array(read_json(shifts)["shifts_pixels"])
    points = operating_points_of(operating_points, concentration_per_mm3=parameters["concentration_per_mm3"])
    wanted = parameters["measures"]
    regions = {method: _regions(wanted["regions"], array) for method, array in arrays.items()}

    def halves(method: str) -> Iterator[Halves]:
        # the same blocks in both halves for every method
        rng = generator(parameters["seed"], "halves", parameters["name"])
        if method == "tracks":
            return _track_halves(tracks, density, wanted["splits"], rng)
        point = points[method]["accumulated"]
        scores = read_scores({"network": network, "expert": expert}[method], point)
        found = (score >= point["threshold"] for score in scores)
        registered = register_maps(found, drift, upsampling=parameters["targets"]["upsampling"])
        return block_halves(registered, len(drift), n_splits=wanted["splits"], rng=rng)

    interval = parameters["sequence"]["frames_per_block"] / parameters["sequence"]["frame_rate"]
    time = interval * np.arange(1, len(drift) + 1)
    parts = {name: _Measured() for name in (FIELD, *wanted["regions"])}
    tiled: dict[str, LocalResolution] = {}
    left_out: dict[str, str] = {}

    @contextmanager
    def if_possible(name: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            left_out[name] = str(error)
            print(f"{name}: {error}")

    for method, array in arrays.items():
        image, size, places = array[0], array.attrs["spacing"]["z"], regions[method]
        tiles: Tiles | None = None
        if wanted["tile"] is not None:
            with if_possible(f"local resolution of {method}"):
                side = round(wanted["tile"] / size)
                tiles = cut_tiles(image.shape, side=side, step=side // 2)
        with if_possible(f"resolution of {method}"):
            cuts = [*places.values(), *(tiles.regions if tiles else [])]
            curves = ring_correlations(halves(method), size, cuts, smoothing=wanted["ring_smoothing"])
            for name, curve in zip(places, curves, strict=False):
                parts[name].curves[method] = curve
            if tiles:
                tiled[method] = local_resolution(
                    image, tiles, curves[len(places) :], least_tracks=wanted["least_tracks"]
                )
        with if_possible(f"widths in {method}"):
            mask = vessel_mask(image, smoothing=wanted["mask_smoothing"])
            everywhere = vessel_widths(image, mask, size)
            for name, place in places.items():
                parts[name].widths[method] = everywhere if name == FIELD else widths_within(everywhere, place)
        for name, place in places.items() if method in METHODS else ():
            with if_possible(f"saturation of {method}" + f" in {name}" * (name != FIELD)):
                filled = (time, mean_filling(image[place], len(drift)))
                parts[name].filled[method] = filled
                parts[name].fits[method] = fit_saturation(*filled)
    whole = parts.pop(FIELD)
    write_json(
        measures,
        {
            **whole.numbers(),
            "regions": {
                name: {"rectangle": wanted["regions"][name], **part.numbers()} for name, part in parts.items()
            },
            "local_resolution": {method: _numbers(each, arrays[method]) for method, each in tiled.items()},
            "left_out": left_out,
            "provenance": provenance(
                "measure", parameters, angiogram, network, expert, tracks, maps, shifts, operating_points
            ),
        },
    )
    pages = _pages(parameters["name"], whole, _local_panels(parts, tiled, arrays), wanted["regions"], density)
    for path, (draw, content) in zip((resolution, saturation, widths, local), pages, strict=True):
        with complete_or_absent(path) as temporary:
            _or_nothing(draw, content, left_out).savefig(temporary)


def _local_panels(
    parts: dict[str, _Measured], tiled: dict[str, LocalResolution], arrays: dict[str, Any]
) -> dict[str, LocalPanel]:
    """Image, tiles and the regions' resolutions of each method."""
    return {
        method: LocalPanel(
            array[0],
            tiled.get(method),
            {
                region: resolution_at(part.curves[method]).size
                for region, part in parts.items()
                if method in part.curves
            },
        )
        for method, array in arrays.items()
    }


def _pages(
    name: str,
    whole: _Measured,
    panels: dict[str, LocalPanel],
    regions: dict[str, Any],
    density: Any,
) -> list[tuple[Callable[[Any], Figure], dict[str, Any]]]:
    """What draws resolution, saturation, widths and local resolution, and of what."""
    draw_local = partial(
        local_resolution_figure,
        extent=extent_of(density),
        regions=regions,
        title=f"{name}: local resolution",
    )
    return [
        (partial(ring_correlation_figure, title=f"{name}: Fourier ring correlation"), whole.curves),
        (partial(saturation_figure, fits=whole.fits, title=f"{name}: filling of the image"), whole.filled),
        (partial(width_figure, title=f"{name}: vessel widths (FWHM)"), whole.widths),
        (draw_local, panels),
    ]


def _regions(wanted: dict[str, list[float]], array: Any) -> dict[str, Region]:
    """The whole field and, by name, the pixels of every region that was asked for."""
    field, spacing, origin = extent_of(array), array.attrs["spacing"], array.attrs["origin"]
    rounding = 1e-6 * spacing["z"]
    regions = {FIELD: WHOLE}
    for name, (left, right, top, bottom) in wanted.items():
        if not (
            field[0] - rounding <= left < right <= field[1] + rounding
            and field[2] - rounding <= top < bottom <= field[3] + rounding
        ):
            raise InputError(
                f"measures.regions.{name}: {[left, right, top, bottom]} m, expected x and z within the field, "
                f"{[float(f'{edge:.6g}') for edge in field]}"
            )
        regions[name] = region_slices(
            (left, right, top, bottom),
            array.shape[1:],
            origin=(origin["x"], origin["z"]),
            pixel_size=spacing["z"],
        )
        sides = [part.stop - part.start for part in regions[name]]
        if min(sides) < LEAST_SIDE:
            raise InputError(
                f"measures.regions.{name}: {sides[0]} × {sides[1]} fine pixels, expected at least {LEAST_SIDE} a side "
                "for the Fourier ring correlation"
            )
    return regions


def _numbers(local: LocalResolution, array: Any) -> dict[str, Any]:
    """The resolution of the tiles for a file: metres, None where there is none; centres of rows and columns."""
    spacing, origin, tiles = array.attrs["spacing"], array.attrs["origin"], local.tiles
    middle = (tiles.side - 1) / 2
    return {
        "side": tiles.side * spacing["z"],
        "z": (origin["z"] + (tiles.top + middle) * spacing["z"]).tolist(),
        "x": (origin["x"] + (tiles.left + middle) * spacing["x"]).tolist(),
        "tracks": local.tracks.tolist(),
        **{
            threshold: [[one if np.isfinite(one) else None for one in row] for row in size.tolist()]
            for threshold, size in local.size.items()
        },
    }


def _track_halves(tracks: Path, density: Any, n_splits: int, rng: np.random.Generator) -> Iterator[Halves]:
    """Density maps of the halves of the tracks."""
    grid = FineGrid.of_images(density.shape[1:], density.attrs)

    def counts(blocks: Iterable[NDArray[np.void]]) -> NDArray[np.int32]:
        return track_maps(blocks, grid).density

    return track_halves(lambda: read_tracks(tracks), counts, n_splits=n_splits, rng=rng)


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
