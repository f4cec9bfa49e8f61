"""Stage 12: thresholds of expert and network, chosen on validation blocks by one rule for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.evaluation.operating_point import CRITERIA, Sweep, choose_threshold, sweep_thresholds
from ulmpipe.evaluation.scores import crop_border
from ulmpipe.figures.diagnostics import threshold_figure
from ulmpipe.io.stores import complete_or_absent, open_store, provenance, read_block, write_json
from ulmpipe.localization.localize import spread
from ulmpipe.progress import progress
from ulmpipe.stages._detections import expert_map, network_maps
from ulmpipe.stages._parameters import Parameters

THRESHOLDS = {
    "network": np.concatenate([[0.005, 0.01], np.arange(1, 49) * 0.02, [0.97, 0.98, 0.99, 0.995]]),
    "expert": np.arange(6, 98) * 0.01,
}
RADII = {"network": (0,), "expert": (0, 1, 2)}  # fine pixels over which a detection is spread


def run(
    parameters: Parameters,
    *,
    validation: list[Path],
    model: Path,
    operating_points: Path,
    picture: Path,
    threads: int,
) -> None:
    """Sweep the thresholds of both methods over the validation blocks; a volume's blocks are accumulated together."""
    upsampling, border = parameters["targets"]["upsampling"], parameters["evaluation"]["border"]
    sweeps: dict[tuple[str, int], list[Sweep]] = {}
    for path in validation:
        store = open_store(path, "correlation", "tracks")
        maps, truths = store["correlation"], crop_border(store["tracks"][:], border)
        blocks = range(maps.shape[0])
        inferred = network_maps(parameters, model, maps, threads=threads)
        scores = {
            "network": np.stack(list(progress(inferred, "network on validation blocks", total=len(blocks)))),
            "expert": np.stack(
                [expert_map(read_block(maps, block), upsampling=upsampling) for block in blocks]
            ),
        }
        for method, radii in RADII.items():
            for radius in radii:
                spread_out = np.stack([spread(block, radius=radius) for block in scores[method]])
                sweep = sweep_thresholds(
                    crop_border(spread_out, border), truths, thresholds=THRESHOLDS[method]
                )
                sweeps.setdefault((method, radius), []).append(sweep)
    means = {key: _mean(each) for key, each in sweeps.items()}
    points: dict[str, Any] = {
        method: {criterion: _best(means, method, criterion) for criterion in CRITERIA} for method in RADII
    }
    write_json(operating_points, {**points, "provenance": provenance("operating_points", parameters)})
    chosen = {key: sweep for key, sweep in means.items() if points[key[0]]["per_block"]["radius"] == key[1]}
    figure = threshold_figure(
        {method: (sweep.thresholds, sweep.per_block) for (method, _), sweep in chosen.items()},
        title="Dice per block on validation blocks",
        chosen={
            method: (each["per_block"]["threshold"], each["per_block"]["dice"])
            for method, each in points.items()
        },
    )
    with complete_or_absent(picture) as temporary:
        figure.savefig(temporary)


def _mean(sweeps: list[Sweep]) -> Sweep:
    def mean(name: str) -> NDArray[np.float64]:
        return np.asarray(np.mean([getattr(sweep, name) for sweep in sweeps], axis=0))

    return Sweep(
        thresholds=sweeps[0].thresholds, per_block=mean("per_block"), accumulated=mean("accumulated")
    )


def _best(means: dict[tuple[str, int], Sweep], method: str, criterion: str) -> dict[str, float]:
    points = [
        (radius, choose_threshold(sweep, criterion=criterion))
        for (name, radius), sweep in means.items()
        if name == method
    ]
    radius, point = max(points, key=lambda each: each[1].dice)
    return {"threshold": point.threshold, "radius": radius, "dice": point.dice}
