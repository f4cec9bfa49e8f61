"""Stage 12: the picture a person opens first, and the drift curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.angiogram import accumulate
from ulmpipe.figures.angiograms import Panel, angiogram_figure, score_caption
from ulmpipe.figures.diagnostics import drift_figure
from ulmpipe.io.stores import complete_or_absent, open_store, read_blocks, read_json
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._scan import extent_of


def run(
    parameters: Parameters,
    *,
    angiogram: Path,
    shifts: Path,
    picture: Path,
    drift: Path,
    ground_truth: Path | None = None,
    scores: Path | None = None,
) -> None:
    """Draw power Doppler, expert and network side by side; of a phantom, the ground truth and the scores too."""
    store = open_store(angiogram, "network", "expert", "power_doppler")
    power = store["power_doppler"]
    results = None if scores is None else read_json(scores)
    panels = [
        Panel("Power Doppler", power[0], "power", caption="after the clutter filter"),
        *(
            Panel(name, store[method][0], caption=score_caption(results[method]) if results else "")
            for method, name in (("expert", "Expert ULM"), ("network", "Network"))
        ),
    ]
    registration, true = read_json(shifts), None
    found, outlier = (np.array(registration[name]) for name in ("shifts_pixels", "outlier"))
    pixel = power.attrs["spacing"]["z"]
    if ground_truth is not None:
        truth = open_store(ground_truth, "tracks", "drift")
        tracks = accumulate(read_blocks(truth["tracks"]))
        panels.insert(0, Panel("Ground truth", tracks, caption="every simulated visible bubble"))
        true = truth["drift"][:] / pixel
    figure = angiogram_figure(
        panels,
        extent=extent_of(power),
        title=_title(parameters, store.attrs["n_blocks"]),
        colormap=parameters["figure"]["colormap"],
    )
    with complete_or_absent(picture) as temporary:
        figure.savefig(temporary)
    with complete_or_absent(drift) as temporary:
        drift_figure(found, true, outlier=outlier, pixel_size=pixel).savefig(temporary)


def _title(parameters: Parameters, n_blocks: int) -> str:
    acquisition = parameters["acquisition"]
    if "recording" in acquisition:
        return f"{parameters['name']}, {n_blocks} blocks"
    return f"{acquisition['concentration_per_mm3']:g} bubbles/mm³, {n_blocks} blocks"
