"""Table II of Milecki et al. 2021 with a trained model: 800 blocks of 1 mm³ against the long reference.

Run: `python examples/table_two.py --configuration config/pretrained.yaml --model models/cortex --validation
mouse_20120625 mouse_20100203 --test mouse_20120626 --output FOLDER`. One slice of each volume, 800 blocks at each
concentration, cuts of the same bubbles; the reference holds all of 1000 blocks at the highest, 20 000 bubbles at
20/mm³. Thresholds of network and expert are chosen on the validation volumes together: in how many blocks a pixel must
be how bright (`times`, `threshold`) or how bright its brightest blocks must be on average (`mean`), and for the expert
whether localizations or their tracks count, over how many pixels a detection is spread and by how many it is raised.
Work that is done is not done again: shards of blocks are kept in FOLDER, under a name that says what they were made by.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGHEST = 20.0  # bubbles/mm³: those of the reference, of which the others are a part
PAPER = {  # precision, recall, Dice
    1.0: {"ground truth": (100, 35, 52), "expert": (90, 33, 48), "network": (96, 40, 56)},
    5.0: {"ground truth": (100, 63, 77), "expert": (74, 63, 70), "network": (87, 67, 78)},
    10.0: {"ground truth": (100, 78, 88), "expert": (70, 64, 67), "network": (81, 82, 81)},
    20.0: {"ground truth": (100, 89, 94), "expert": (67, 63, 65), "network": (58, 92, 71)},
}
MOST_BLOCKS = 16  # that are kept of each pixel, the brightest
# map of a method, fine pixels over which a detection is spread, and by which it is raised
VARIANTS = {"network": [("score", 0, 0)], "expert": list(product(("score", "tracked"), (0, 1, 2), (0, 1, 2)))}
THRESHOLDS = np.concatenate(
    [[0.001, 0.002, 0.005], np.arange(1, 98) * 0.01, [0.975, 0.98, 0.985, 0.99, 0.995, 0.998]]
)
LEAST_PRECISION = 0.85

# (blocks, z, x): the highest values of each pixel over the blocks, in descending order
Best = NDArray[np.float16]


def add_block(best: Best, scores: NDArray[np.float32]) -> Best:
    """The highest values of each pixel, those of one block more among them."""
    # numbers that are not negative are ordered like their bits, which compare faster
    carried = scores.astype(np.float16).view(np.uint16)
    highest = best.view(np.uint16).copy()
    for row in highest:
        lower = np.minimum(row, carried)
        np.maximum(row, carried, out=row)
        carried = lower
    return highest.view(np.float16)


def parts_of(
    concentrations: list[float], *, n_blocks: int, n_reference: int, shard: int
) -> list[tuple[float, int, int]]:
    """Concentration, first block and number of blocks of every shard; what only the reference has comes last."""
    ranges = [(each, 0, n_blocks) for each in sorted({*concentrations, HIGHEST}, reverse=True)]
    ranges.append((HIGHEST, n_blocks, n_reference))
    return [
        (concentration, first, min(shard, end - first))
        for concentration, start, end in ranges
        for first in range(start, end, shard)
    ]


def place_of_shard(
    settings: dict[str, Any], files: dict[str, Path], folder: Path, part: tuple[float, int, int]
) -> tuple[Path, dict[str, Any]]:
    """File of some blocks of one concentration, named after all that they are made by; the parameters of its stage."""
    from ulmpipe.io.stores import identity_of, provenance

    concentration, first, n_blocks = part
    training_set = settings["training_set"] | {"concentrations_per_mm3": [concentration]}
    parameters = settings | {"training_set": training_set, "first_block": first, "n_blocks": n_blocks}
    made = identity_of(provenance("table_two", parameters, *files.values()))
    return folder / f"{concentration:g}_{first:04d}_{made}.npz", parameters


def shard_of_blocks(
    settings: dict[str, Any], files: dict[str, Path], folder: Path, part: tuple[float, int, int]
) -> Path:
    """Simulate some blocks of one concentration and keep what both methods and the truth say of them together."""
    from ulmpipe.io.stores import complete_or_absent, open_store, read_block
    from ulmpipe.stages import training_blocks
    from ulmpipe.stages._detections import network_maps, operated
    from ulmpipe.stages._expert import expert_maps
    from ulmpipe.stages._maps import as_correlation

    path, parameters = place_of_shard(settings, files, folder, part)
    if path.exists():
        return path
    blocks = folder / f"{path.stem}.zarr"
    training_blocks.run(
        parameters, trajectories=files["trajectories"], point_spread=files["point_spread"], blocks=blocks
    )
    seen = settings["network"]["input"]
    store = open_store(blocks, seen, "tracks")
    maps, tracks = store[seen], store["tracks"][:]
    psf = open_store(files["point_spread"], "point_spread")["point_spread"][0]
    empty = np.zeros((MOST_BLOCKS, *tracks.shape[1:]), np.float16)
    best = {(method, *variant): empty for method, variants in VARIANTS.items() for variant in variants}
    inferred = network_maps(
        settings, files["weights"], maps, threads=1, trained_frames=settings["trained_frames"]
    )
    for block, network in enumerate(inferred):
        chi = as_correlation(seen, read_block(maps, block), psf, settings["correlation"])
        expert = expert_maps(chi, settings, spacing=maps.attrs["spacing"])
        scores = {"network": {"score": network}, "expert": expert}
        for variant, highest in best.items():
            method, name, radius, rise = variant
            best[variant] = add_block(highest, operated(scores[method][name], radius=radius, rise=rise))
    with complete_or_absent(path) as temporary:
        named = {_named(*variant): values for variant, values in best.items()}
        np.savez_compressed(temporary, truth=tracks.any(axis=0), **named)
    shutil.rmtree(blocks)
    return path


def of_volume(
    settings: dict[str, Any], name: str, arguments: argparse.Namespace
) -> dict[float, dict[str, Any]]:
    """Make all blocks of a volume; by concentration what each variant and the truth say, and the reference."""
    from ulmpipe.io.stores import identity_of, provenance
    from ulmpipe.stages import point_spread, trajectories, vessel_graph

    folder = arguments.output / name
    folder.mkdir(parents=True, exist_ok=True)
    side = settings["volumes"]["cube"] * settings["volumes"]["dilation"]
    n_reference = round(arguments.blocks * 1.25)
    common = settings | {
        "name": name,
        "graph": settings["graphs"][name],
        "cube": settings["volumes"]["cube"],
        "dilation": settings["volumes"]["dilation"],
        "side": side,
        "n_blocks": n_reference,
        "concentration_per_mm3": HIGHEST,
        "validation": False,
    }
    common["training_set"] = settings["training_set"] | {
        "blocks_per_volume": n_reference,
        "blocks_per_rotation": n_reference,
        "lateral_offset": 0.0,
        "depth_offset": 0.0,
        "echo_spread_db": 0.0,
    }
    made = identity_of(provenance("table_two", common))
    files = {
        "trajectories": folder / f"trajectories_{made}.zarr",
        "point_spread": folder / f"point_spread_{made}.zarr",
        "weights": arguments.model / "weights.safetensors",
    }
    graph = folder / "graph.h5"
    if not files["trajectories"].exists():
        vessel_graph.run(common, graph=graph, morphometry=folder / "graph.json", picture=folder / "graph.png")
        trajectories.run(common, graph=graph, trajectories=files["trajectories"], film=folder / "film.gif")
    if not files["point_spread"].exists():
        point_spread.run(common, point_spread=files["point_spread"])
    parts = parts_of(
        arguments.concentrations, n_blocks=arguments.blocks, n_reference=n_reference, shard=arguments.shard
    )
    # a process that has used a GPU cannot be forked
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(shard_of_blocks, common, files, folder, part) for part in parts]
        shards = {part: job.result() for part, job in zip(parts, jobs, strict=True)}
    reference = np.zeros((), bool)
    for (concentration, _, _), path in shards.items():
        if concentration == HIGHEST:
            reference = reference | np.load(path)["truth"]
    said: dict[float, dict[str, Any]] = {}
    for concentration in arguments.concentrations:
        paths = [
            path for (c, first, _), path in shards.items() if c == concentration and first < arguments.blocks
        ]
        said[concentration] = {**_merged(paths), "reference": reference}
    return said


def _merged(paths: list[Path]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for path in paths:
        for name, values in np.load(path).items():
            if name == "truth":
                merged[name] = merged.get(name, np.zeros_like(values)) | values
            elif name in merged:
                merged[name] = np.sort(np.concatenate([merged[name], values]), axis=0)[::-1][:MOST_BLOCKS]
            else:
                merged[name] = values
    return merged


def side_by_side(volumes: list[dict[str, Any]], border: int) -> dict[str, Any]:
    """All that volumes say, without their borders, as of one wide one."""
    from ulmpipe.evaluation.scores import crop_border

    return {
        name: np.concatenate([crop_border(volume[name], border) for volume in volumes], axis=-1)
        for name in volumes[0]
    }


def together(best: Best, most_blocks: int) -> Iterator[tuple[str, int, NDArray[np.float32]]]:
    """What all blocks say of each pixel, in many ways: its so many-th highest value, or the mean of so many."""
    values = best[:most_blocks].astype(np.float32)
    means = values.cumsum(axis=0) / np.arange(1, len(values) + 1)[:, None, None]
    for n_blocks in range(1, len(values) + 1):
        yield "times", n_blocks, values[n_blocks - 1]
        yield "mean", n_blocks, means[n_blocks - 1]


def scores_at_thresholds(values: NDArray[np.float32], real: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Precision, recall and Dice (3, thresholds) of the pixels from each of `THRESHOLDS` on."""
    reached = np.searchsorted(THRESHOLDS.astype(np.float32), values, side="right")

    def from_each_on(places: NDArray[np.intp]) -> NDArray[np.float64]:
        counts = np.bincount(places.ravel(), minlength=len(THRESHOLDS) + 1)
        return counts[::-1].cumsum()[::-1][1:].astype(float)

    n_shown, n_right, n_real = from_each_on(reached), from_each_on(reached[real]), np.count_nonzero(real)
    return np.stack(
        [n_right / n_shown.clip(1), n_right / max(n_real, 1), 2 * n_right / (n_shown + n_real).clip(1)]
    )


def report(validation: dict[str, Any], test: dict[str, Any], *, most_blocks: int) -> Iterator[dict[str, Any]]:
    """A row for each criterion and method: the point chosen on the validation volumes, and its scores on the test's."""
    from ulmpipe.evaluation.scores import precision_recall_dice

    for against in ("reference", "truth"):
        truth = precision_recall_dice(test["truth"], test[against])
        for method, variants in VARIANTS.items():
            points = [
                (variant, way, n_blocks, scores_at_thresholds(values, validation[against]))
                for variant in variants
                for way, n_blocks, values in together(validation[_named(method, *variant)], most_blocks)
            ]
            for least in (0.0, LEAST_PRECISION):
                dice = np.stack([np.where(scores[0] >= least, scores[2], -1.0) for *_, scores in points])
                if dice.max() < 0:
                    continue
                chosen, at = np.unravel_index(dice.argmax(), dice.shape)
                variant, way, n_blocks, _ = points[chosen]
                ways = together(test[_named(method, *variant)], n_blocks)
                values = next(values for name, number, values in ways if (name, number) == (way, n_blocks))
                precision, recall, found = scores_at_thresholds(values, test[against])[:, at].tolist()
                point = {way: n_blocks, "threshold": float(THRESHOLDS[at])}
                if method == "expert":
                    point |= {"map": variant[0], "spread": variant[1], "raised": variant[2]}
                yield {
                    "against": against,
                    "least_precision": least,
                    "most_blocks": most_blocks,
                    "method": method,
                    "point": point,
                    "precision": precision,
                    "recall": recall,
                    "dice": found,
                    "ground_truth": truth,
                    "share": found / truth["dice"],
                }


def _named(method: str, name: str, radius: int, rise: int) -> str:
    return f"{method}_{name}_{radius}_{rise}"


def main() -> None:
    """Make, choose, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configuration", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--validation", nargs="+", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--concentrations", nargs="+", type=float, choices=sorted(PAPER), default=sorted(PAPER)
    )
    parser.add_argument("--blocks", type=int, default=800)
    parser.add_argument("--shard", type=int, default=40)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # a core for each worker
    from ulmpipe.configuration import load_configuration
    from ulmpipe.configuration.models import read_model

    default = Path(__file__).parents[1] / "config/config.yaml"
    settings = load_configuration(default, arguments.configuration).model_dump(mode="json")
    model = read_model(arguments.model)
    settings["network"] |= {"name": model["network"], "input": model["input"]}
    settings["trained_frames"] = model["made_for"]["sequence"]["frames_per_block"]
    correlation = settings["correlation"]
    maps = {
        "filtered": {"window": correlation["scale_window"]},
        "correlation": {"regularization": correlation["regularization"]},
    }
    settings["maps"] = {model["input"]: maps[model["input"]]}
    border = settings["evaluation"]["border"]
    volumes = {name: of_volume(settings, name, arguments) for name in (*arguments.validation, arguments.test)}
    rows = []
    for concentration in arguments.concentrations:
        validation, test = (
            side_by_side([volumes[name][concentration] for name in names], border)
            for names in (arguments.validation, [arguments.test])
        )
        for most_blocks in (1, MOST_BLOCKS):
            for row in report(validation, test, most_blocks=most_blocks):
                rows.append({"concentration_per_mm3": concentration, **row})
                print(_line(rows[-1]), flush=True)
        for method, values in PAPER[concentration].items():
            print(f"{concentration:g}/mm³ paper, {method}: {' / '.join(map(str, values))}")
    (arguments.output / "table_two.json").write_text(json.dumps(rows, indent=1))


def _line(row: dict[str, Any]) -> str:
    def percent(scores: dict[str, Any]) -> str:
        return " / ".join(f"{100 * scores[name]:.1f}" for name in ("precision", "recall", "dice"))

    blocks = "reference" if row["against"] == "reference" else "same blocks"
    return (
        f"{row['concentration_per_mm3']:g}/mm³ against the {blocks}, precision from {row['least_precision']:g}, "
        f"at most {row['most_blocks']} blocks: {row['method']} {percent(row)} ({100 * row['share']:.0f} % of "
        f"{percent(row['ground_truth'])}), {row['point']}"
    )


if __name__ == "__main__":
    main()
