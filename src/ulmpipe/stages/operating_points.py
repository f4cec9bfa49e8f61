"""Stage 12: thresholds of expert and network, chosen on validation blocks by one rule for both."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.correlation import from_channels
from ulmpipe.evaluation.operating_point import CRITERIA, Sweep, choose_threshold, sweep_thresholds
from ulmpipe.evaluation.scores import crop_border
from ulmpipe.figures.angiograms import block_figure
from ulmpipe.figures.diagnostics import threshold_figure
from ulmpipe.io.stores import complete_or_absent, open_store, provenance, read_block, write_json
from ulmpipe.progress import progress
from ulmpipe.stages._detections import network_maps, operated
from ulmpipe.stages._expert import MAPS, expert_maps
from ulmpipe.stages._maps import as_correlation
from ulmpipe.stages._parameters import Parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLDS = {
    "network": np.concatenate([[0.005, 0.01], np.arange(1, 49) * 0.02, [0.97, 0.98, 0.99, 0.995]]),
    "expert": np.arange(6, 98) * 0.01,
}
SPREADS = RISES = (
    0,
    1,
    2,
)  # fine pixels over which a detection of the expert is spread, and by which it is raised

Variant = tuple[str, str, int, int]  # method, map, spread, rise


def run(
    parameters: Parameters,
    *,
    validation: list[Path],
    point_spread: Path,
    model: Path,
    operating_points: Path,
    picture: Path,
    block_picture: Path,
    threads: int,
    memory_mb: int = 3000,
) -> None:
    """Sweep the thresholds of both methods over the validation blocks of each concentration.

    The blocks of a rotation are accumulated together.
    """
    counted = MAPS if parameters["tracking"]["scored"] else MAPS[:1]
    variants_of = {"network": [("score", 0, 0)], "expert": list(product(counted, SPREADS, RISES))}
    border = parameters["evaluation"]["border"]
    seen, psf = parameters["network"]["input"], open_store(point_spread, "point_spread")["point_spread"][0]

    def correlation(channels: NDArray[np.float16]) -> NDArray[np.float16]:
        return as_correlation(seen, channels, psf, parameters["correlation"])

    sweeps: dict[float, dict[Variant, list[tuple[int, Sweep]]]] = {}
    for path in validation:
        store = open_store(path, seen, "tracks")
        maps, truths = store[seen], crop_border(store["tracks"][:], border)
        groups = np.asarray(store.attrs["group"])
        # a rotation has one concentration
        concentration_of = dict(zip(groups.tolist(), store.attrs["concentration_per_mm3"], strict=True))
        blocks = range(maps.shape[0])
        own = maps.shape[2]  # validation blocks are as long as those of the training
        inferred = network_maps(
            parameters, model, maps, threads=threads, memory_mb=memory_mb, trained_frames=own
        )
        inferred = progress(inferred, "network on validation blocks", total=len(blocks))
        spacing = maps.attrs["spacing"]
        scores = {
            "network": [{"score": one} for one in inferred],
            "expert": [
                expert_maps(correlation(read_block(maps, block)), parameters, spacing=spacing)
                for block in blocks
            ],
        }
        if path == validation[0]:
            example = {method: of_blocks[0] for method, of_blocks in scores.items()}
        for method, variants in variants_of.items():
            for name, radius, rise in variants:
                variant = crop_border(
                    np.stack([operated(each[name], radius=radius, rise=rise) for each in scores[method]]),
                    border,
                )
                for group, concentration in concentration_of.items():
                    sweep = sweep_thresholds(
                        variant[groups == group], truths[groups == group], thresholds=THRESHOLDS[method]
                    )
                    of_concentration = sweeps.setdefault(concentration, {})
                    n_blocks = int(np.count_nonzero(groups == group))
                    of_concentration.setdefault((method, name, radius, rise), []).append((n_blocks, sweep))
    points: list[dict[str, Any]] = []
    for concentration in sorted(sweeps):
        means = {key: _mean(each) for key, each in sweeps[concentration].items()}
        best = {
            method: {criterion: _best(means, method, criterion) for criterion in CRITERIA}
            | {"of_each_map": _best_of_each_map(means, method)}
            for method in variants_of
        }
        points.append({"concentration_per_mm3": concentration, **best})
    made = provenance("operating_points", parameters, *validation, point_spread, model)
    write_json(operating_points, {"operating_points": points, "provenance": made})
    # curves of the densest
    per_block = {method: points[-1][method]["per_block"] for method in variants_of}
    curves = {
        method: means[method, point["map"], point["radius"], point["rise"]]
        for method, point in per_block.items()
    }
    figure = threshold_figure(
        {method: (sweep.thresholds, sweep.per_block) for method, sweep in curves.items()},
        title=f"Dice per block on validation blocks, {concentration:g}/mm³",
        chosen={method: (point["threshold"], point["dice"]) for method, point in per_block.items()},
    )
    with complete_or_absent(picture) as temporary:
        figure.savefig(temporary)
    with complete_or_absent(block_picture) as temporary:
        store = open_store(validation[0], seen, "tracks")
        chi = from_channels(correlation(read_block(store[seen], 0)))
        (expert,) = (
            point["expert"]["per_block"]
            for point in points
            if point["concentration_per_mm3"] == store.attrs["concentration_per_mm3"][0]
        )
        _first_block(store, chi, example, expert).savefig(temporary)


def _first_block(
    store: Any,
    chi: NDArray[np.complex64],
    scores: dict[str, dict[str, NDArray[np.float32]]],
    expert: dict[str, Any],
) -> Figure:
    """What both methods make of the first block: a network that has not learnt enough paints blobs."""
    tracks = store["tracks"]
    spacing, (n_z, n_x) = tracks.attrs["spacing"], tracks.shape[1:]
    detections = operated(scores["expert"][expert["map"]], radius=expert["radius"], rise=expert["rise"])
    return block_figure(
        chi,
        read_block(tracks, 0),
        detections >= expert["threshold"],
        scores["network"]["score"],
        extent=(-n_x / 2 * spacing["x"], n_x / 2 * spacing["x"], 0.0, n_z * spacing["z"]),
        title="A validation block",
    )


def _mean(rotations: list[tuple[int, Sweep]]) -> Sweep:
    """Mean over the blocks, of which a volume's last rotation may have fewer."""
    n_blocks, sweeps = zip(*rotations, strict=True)

    def mean(name: str) -> NDArray[np.float64]:
        return np.asarray(np.average([getattr(sweep, name) for sweep in sweeps], axis=0, weights=n_blocks))

    return Sweep(
        thresholds=sweeps[0].thresholds, per_block=mean("per_block"), accumulated=mean("accumulated")
    )


def _best(means: dict[Variant, Sweep], method: str, criterion: str) -> dict[str, Any]:
    points = [
        (choose_threshold(sweep, criterion=criterion), name, radius, rise)
        for (of, name, radius, rise), sweep in means.items()
        if of == method
    ]
    point, name, radius, rise = max(points, key=lambda each: each[0].dice)
    return {"map": name, "threshold": point.threshold, "radius": radius, "rise": rise, "dice": point.dice}


def _best_of_each_map(means: dict[Variant, Sweep], method: str) -> list[dict[str, Any]]:
    """Points per block of each of a method's maps: at another precision another one may be the best."""
    names = dict.fromkeys(name for of, name, *_ in means if of == method)
    return [
        _best({variant: sweep for variant, sweep in means.items() if variant[1] == name}, method, "per_block")
        for name in names
    ]
