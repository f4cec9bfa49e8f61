"""Stage 12: the picture a person opens first, and the drift curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ulmpipe.angiogram import accumulate
from ulmpipe.figures.angiograms import Panel, angiogram_figure, score_caption
from ulmpipe.figures.diagnostics import drift_figure
from ulmpipe.io.stores import complete_or_absent, open_store, read_blocks, read_json
from ulmpipe.stages._parameters import Parameters


def run(
    parameters: Parameters, *, angiogram: Path, ground_truth: Path, scores: Path, picture: Path, drift: Path
) -> None:
    """Draw ground truth, power Doppler, expert and network side by side."""
    maps = open_store(angiogram, "network", "expert", "power_doppler")
    truth, results = open_store(ground_truth, "tracks"), read_json(scores)
    power = maps["power_doppler"]
    pixel, origin = power.attrs["spacing"]["z"], power.attrs["origin"]
    n_z, n_x = power.shape[1:]
    left, top = origin["x"] - pixel / 2, origin["z"] - pixel / 2
    concentration = parameters["acquisition"]["concentration_per_mm3"]
    figure = angiogram_figure(
        [
            Panel(
                "Ground truth",
                accumulate(read_blocks(truth["tracks"])),
                caption="every simulated visible bubble",
            ),
            Panel("Power Doppler", power[0], "power", caption="after the clutter filter"),
            Panel("Expert ULM", maps["expert"][0], caption=score_caption(results["expert"])),
            Panel("Network", maps["network"][0], caption=score_caption(results["network"])),
        ],
        extent=(left, left + n_x * pixel, top, top + n_z * pixel),
        title=f"{concentration:g} bubbles/mm³, {results['n_blocks']} blocks",
        colormap=parameters["figure"]["colormap"],
    )
    with complete_or_absent(picture) as temporary:
        figure.savefig(temporary)
    found, true = (np.array(results["drift"][name]) / pixel for name in ("found", "true"))
    with complete_or_absent(drift) as temporary:
        drift_figure(found, true, pixel_size=pixel).savefig(temporary)
