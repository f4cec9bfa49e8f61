"""Distributions of real and synthetic networks beside each other, and how far apart they are.

Run: `python examples/morphometry.py GRAPH [GRAPH …] --output FOLDER`, with graphs as `read_graph` takes them, in
micrometres: the densest cube of 500 µm of each, cleaned, against three synthetic networks. Writes
FOLDER/morphometry.png and prints Kolmogorov–Smirnov distances: of synthetic networks from those of each kind of file,
and of the files of a kind from each other.
"""

from __future__ import annotations

import argparse
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from ulmpipe.randomness import generator
from ulmpipe.vessels import VesselGraph, clean_graph, cut_cube, read_graph, synthetic_cortex
from ulmpipe.vessels.branches import branches
from ulmpipe.vessels.graph import node_degrees

CUBE = 0.5e-3
STEP = 2e-6  # m of vessel for which a diameter counts once
COLOURS = {".swc": "#6f9bd1", "synthetic": "#b03060"}
Measures = dict[str, NDArray[np.float64]]


def measures(graph: VesselGraph) -> Measures:
    """Of every branch its length (µm) and tortuosity, diameters (µm) as often as there is vessel of them, and how many
    vessels meet at each branching.
    """
    length, tortuosity, diameter = [], [], []
    for chain in branches(graph):
        points = graph.positions[chain]
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        chord = np.linalg.norm(points[-1] - points[0])
        length.append(1e6 * steps.sum())
        if chord > 0:
            tortuosity.append(steps.sum() / chord)
        wide = 1e6 * (graph.radius[chain[1:]] + graph.radius[chain[:-1]])
        diameter.append(np.repeat(wide, np.maximum(1, np.rint(steps / STEP).astype(int))))
    degree = node_degrees(graph)
    return {
        "branch length (µm)": np.array(length),
        "tortuosity": np.array(tortuosity),
        "diameter (µm), by length": np.concatenate(diameter),
        "vessels at a branching": degree[degree > 2].astype(float),
    }


def distances(pairs: list[tuple[Measures, Measures]]) -> dict[str, NDArray[np.float64]]:
    """Kolmogorov–Smirnov distances of all pairs, by measure."""
    return {
        name: np.array([ks_2samp(one[name], other[name]).statistic for one, other in pairs])
        for name in pairs[0][0]
    }


def draw(groups: dict[str, list[Measures]], path: Path) -> None:
    """Histograms: a line for each network, a colour for each kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.4), layout="constrained")
    edges = (np.linspace(0, 300, 31), np.linspace(1, 2.5, 31), np.linspace(0, 40, 41), np.arange(2.5, 8))
    for axis, name, bins in zip(axes, groups["synthetic"][0], edges, strict=True):
        for label, some in groups.items():
            for number, each in enumerate(some):
                axis.hist(
                    np.clip(each[name], bins[0], bins[-1]),
                    bins,
                    density=True,
                    histtype="step",
                    color=COLOURS.get(label, "0.6"),
                    label=label if number == 0 else None,
                )
        axis.set(xlabel=name, xlim=(bins[0], bins[-1]), yscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("probability density")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graphs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path())
    options = parser.parse_args()
    groups: dict[str, list[Measures]] = {}
    for path in options.graphs:
        graph, _ = clean_graph(
            read_graph(path, voxel_size=(1e-6, 1e-6, 1e-6), connected=False), source=str(path)
        )
        groups.setdefault(path.suffix, []).append(measures(cut_cube(graph, side=CUBE)))
    synthetic = [measures(synthetic_cortex(generator(1, "graph", seed), side=CUBE)) for seed in (1, 2, 3)]
    comparisons = {"synthetic from synthetic": list(combinations(synthetic, 2))}
    for kind, some in groups.items():
        comparisons[f"synthetic from {kind}"] = list(product(synthetic, some))
        comparisons[f"{kind} from {kind}"] = list(combinations(some, 2))
    for label, pairs in comparisons.items():
        if pairs:
            for name, each in distances(pairs).items():
                print(
                    f"{label}, {name}: median {np.median(each):.2f}, from {each.min():.2f} to {each.max():.2f}"
                )
    draw({**groups, "synthetic": synthetic}, options.output / "morphometry.png")


if __name__ == "__main__":
    main()
