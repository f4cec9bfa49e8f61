"""Figures 6 and 7 of Milecki et al. 2021 from any acquisitions: before and after the bubbles, and dose below dose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.angiogram import accumulate
from ulmpipe.errors import InputError
from ulmpipe.evaluation.profiles import line_profile, profile_peaks
from ulmpipe.evaluation.regions import region_slices
from ulmpipe.figures.angiograms import Panel, angiogram_figure, comparison_figure
from ulmpipe.figures.measures import line_profile_figure
from ulmpipe.io.stores import complete_or_absent, open_store, read_blocks
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import extent_of

KINDS = (("power_doppler", "Power Doppler"), ("expert", "Expert ULM"), ("network", "Network"))


def run(
    parameters: Parameters,
    *,
    angiograms: list[Path],
    field: Path,
    regions: Path,
    profiles: Path,
    ground_truths: list[Path] | None = None,
    without_bubbles: Path | None = None,
) -> None:
    """Draw the whole field of the last acquisition, a region of all, and profiles along a line of the last."""
    wanted, names = parameters["comparison"], parameters["names"]
    stores = [open_store(path, *(kind for kind, _ in KINDS)) for path in angiograms]
    truths = [open_store(path, "tracks")["tracks"] for path in ground_truths or []]
    shapes = {store["network"].shape[1:] for store in stores}
    if len(shapes) > 1:
        raise InputError(
            f"comparison.acquisitions: fields of shapes {sorted(shapes)}, expected the same field"
        )
    last, look = stores[-1], parameters["figure"]["colormap"]
    panels = [_panel(last, kind, title) for kind, title in KINDS]
    if without_bubbles is not None:
        before = open_store(without_bubbles, "power_doppler")["power_doppler"]
        panels.insert(0, Panel("Power Doppler, no bubbles", before[0], "power"))
    if truths:
        panels.append(Panel("Ground truth", accumulate(read_blocks(truths[-1]))))
    extent = extent_of(last["network"])
    _save(angiogram_figure(panels, extent=extent, title=names[-1], colormap=look, panel_width=4.2), field)

    region = _region(wanted["region"], extent)
    rows = {
        name: [
            *(_panel(store, kind, title, region) for kind, title in KINDS),
            *(
                [Panel("Ground truth", _cropped(accumulate(read_blocks(truths[row])), truths[row], region))]
                if truths
                else []
            ),
        ]
        for row, (name, store) in enumerate(zip(names, stores, strict=True))
    }
    line = None if wanted["line"] is None else (tuple(wanted["line"][0]), tuple(wanted["line"][1]))
    _save(comparison_figure(rows, extent=region, title="", line=line, colormap=look), regions)
    _save(_profiles(wanted, last, region, line), profiles)


def _panel(store: Any, kind: str, title: str, region: tuple[float, ...] | None = None) -> Panel:
    array = store[kind]
    image = array[0] if region is None else _cropped(array[0], array, region)
    return Panel(title, image, "power" if kind == "power_doppler" else "density")


def _region(
    wanted: list[float] | None, extent: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """The part of the field that is asked for, or all of it."""
    if wanted is None:
        return extent
    left, right, top, bottom = wanted
    return max(left, extent[0]), min(right, extent[1]), max(top, extent[2]), min(bottom, extent[3])


def _cropped(image: NDArray[Any], array: Any, region: tuple[float, ...]) -> NDArray[Any]:
    origin, spacing = array.attrs["origin"], array.attrs["spacing"]
    rows, columns = region_slices(
        (region[0], region[1], region[2], region[3]),
        image.shape,
        origin=(origin["x"], origin["z"]),
        pixel_size=spacing["z"],
    )
    return image[rows, columns]


def _profiles(wanted: Parameters, store: Any, region: tuple[float, ...], line: Any) -> Any:
    """Profiles of expert and network; across the middle of the region where no line is given."""
    middle = (region[2] + region[3]) / 2
    first, last = line or ((region[0] + 0.05e-3, middle), (region[1] - 0.05e-3, middle))
    curves, peaks = {}, {}
    for kind, title in KINDS[1:]:
        origin, spacing = store[kind].attrs["origin"], store[kind].attrs["spacing"]
        curves[title] = line_profile(
            np.asarray(store[kind][0]),
            first,
            last,
            origin=(origin["x"], origin["z"]),
            pixel_size=spacing["z"],
            strip=wanted["strip"],
        )
        peaks[title] = profile_peaks(*curves[title])
    return line_profile_figure(curves, peaks)


def _save(figure: Any, path: Path) -> None:
    with complete_or_absent(path) as temporary:
        figure.savefig(temporary)
