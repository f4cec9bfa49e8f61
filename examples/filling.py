"""How fast bubbles fill a network's image: figure 3 of Milecki et al. 2021, and the ground truth of its Table II.

Run: `python examples/filling.py GRAPH [GRAPH …] --output FOLDER`, with graphs as `read_graph` takes them, in
micrometres. Prints, for each graph and each way that bubbles may move, Dice and recall of the union of 800 blocks at 1,
5, 10 and 20 bubbles/mm³ against that of 4000 blocks at 5; writes FOLDER/filling.png for the default way.

All are cuts of one set, as in the paper: a block at 20/mm³ is four blocks of the reference together, one at 1/mm³ has
the fifth of a block's bubbles with the lowest rank. So precision is 1, and Dice follows from recall.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulmpipe.flow import (
    BubbleNetwork,
    VelocityLaw,
    prepare_network,
    simulate_bubbles,
    solve_flow,
    speed_by_flow,
    speed_by_law,
    speed_by_table,
)
from ulmpipe.targets import track_map
from ulmpipe.vessels import VesselGraph, clean_graph, cut_cube, dilate, read_graph

CUBE, DILATION, WINDOW, PIXEL = 0.5e-3, 2.0, 0.8e-3, 3.125e-6
FRAMES, RATE, ANGLES = 512, 1000.0, 3
N_REFERENCE, N_BLOCKS = 4000, 800
BLOCKS_TOGETHER = {1: 1, 5: 1, 10: 2, 20: 4}  # of the reference, for a block of so many bubbles/mm³
PAPER = {1: (52, 35), 5: (77, 63), 10: (88, 78), 20: (94, 89)}  # Dice and recall, Table II
HINGOT = VelocityLaw(exponent=1.9, intercept=-6.0)
MEASURED = ((4e-6, 1.4e-3), (10e-6, 1.6e-3), (40e-6, 4e-3))  # about as fast as capillaries are measured
PERFUSION = 1 / 60


def volume(path: Path) -> VesselGraph:
    """The cube of a graph, dilated, as the pipeline makes it."""
    graph, _ = clean_graph(read_graph(path, voxel_size=(1e-6, 1e-6, 1e-6), connected=False), source=str(path))
    return dilate(cut_cube(graph, side=CUBE), DILATION)


def ways(graph: VesselGraph) -> Iterator[tuple[str, BubbleNetwork, float, int]]:
    """Name, network, wall floor, and number of blocks that the same bubbles persist over."""
    flow = solve_flow(graph)
    law = prepare_network(graph, flow, speed=speed_by_law(graph, HINGOT))
    yield "default: the paper's law, fresh bubbles in each block", law, 0.3, 1
    yield "bubbles at the wall stand still", law, 0.0, 1
    yield "the same bubbles for 10 blocks on end", law, 0.3, 10
    yield "the same bubbles for 100 blocks on end", law, 0.3, 100
    table = prepare_network(graph, flow, speed=speed_by_table(graph, MEASURED))
    yield "measured capillary speeds", table, 0.3, 1
    solved = speed_by_flow(graph, flow, perfusion=PERFUSION, tissue_volume=CUBE**3)
    yield "speeds of the solved flow", prepare_network(graph, flow, speed=solved), 0.3, 1
    by_length = law._replace(start_cumulative=np.cumsum(law.length) / law.length.sum())
    yield "starts uniform over vessel length", by_length, 0.3, 1
    flux = law.volume * law.speed
    yield "starts by volume and speed", law._replace(start_cumulative=np.cumsum(flux) / flux.sum()), 0.3, 1


def reference_blocks(
    network: BubbleNetwork, wall_floor: float, persist: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Map of each block at 5/mm³, and of the fifth of its bubbles with the lowest rank."""
    axis = PIXEL * (np.arange(round(WINDOW / PIXEL)) - (round(WINDOW / PIXEL) - 1) / 2)
    events = np.arange(FRAMES)[:, None] / RATE + np.arange(ANGLES) / (ANGLES * RATE)
    for first in range(0, N_REFERENCE, persist):
        rng = np.random.default_rng(first)
        times = (events + np.arange(persist)[:, None, None] * FRAMES / RATE).reshape(-1)
        bubbles = simulate_bubbles(
            network, n_bubbles=int(rng.poisson(5)), event_times=times, wall_floor=wall_floor, rng=rng
        )
        for position in np.split(bubbles.position, persist):
            yield tuple(
                track_map(position, visible, x=axis, z=axis)
                for visible in (np.ones_like(bubbles.rank, bool), bubbles.rank < 0.2)
            )


def filling(network: BubbleNetwork, wall_floor: float, persist: int) -> dict[int, NDArray[np.float64]]:
    """Recall after each block, by concentration."""
    shape = (round(WINDOW / PIXEL),) * 2
    unions = {concentration: np.zeros(shape, bool) for concentration in BLOCKS_TOGETHER}
    counts: dict[int, list[int]] = {concentration: [] for concentration in BLOCKS_TOGETHER}
    reference = np.zeros(shape, bool)
    for number, (all_of_them, lowest) in enumerate(reference_blocks(network, wall_floor, persist), start=1):
        reference |= all_of_them
        for concentration, together in BLOCKS_TOGETHER.items():
            if number > N_BLOCKS * together:
                continue
            unions[concentration] |= lowest if concentration == 1 else all_of_them
            if number % together == 0:
                counts[concentration].append(int(unions[concentration].sum()))
    return {concentration: np.array(each) / reference.sum() for concentration, each in counts.items()}


def draw(curves: dict[str, dict[int, NDArray[np.float64]]], path: Path) -> None:
    """A panel for each graph, with the paper's Table II as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(curves), figsize=(5 * len(curves), 4), layout="constrained", squeeze=False
    )
    for axis, (name, recalls) in zip(axes[0], curves.items(), strict=True):
        for colour, (concentration, recall) in zip(("C0", "C1", "C2", "C3"), recalls.items(), strict=True):
            axis.plot(
                np.arange(1, len(recall) + 1), 100 * dice(recall), color=colour, label=f"{concentration}/mm³"
            )
            axis.plot(N_BLOCKS, PAPER[concentration][0], "o", color=colour, clip_on=False)
        axis.set(xlim=(0, N_BLOCKS), ylim=(0, 100), xlabel="blocks", title=name)
        axis.set_ylabel("Dice against 4000 blocks at 5/mm³, %")
        axis.spines[["top", "right"]].set_visible(False)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, title="bubbles\n(dots: the paper)", loc="outside right center", frameon=False)
    figure.savefig(path, dpi=110)


def dice(recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a part of the reference, of precision 1."""
    return 2 * recall / (1 + recall)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graphs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path())
    options = parser.parse_args()
    print(
        "paper:", ", ".join(f"{c}: {d}/{r}" for c, (d, r) in PAPER.items()), "(Dice/recall at 800 blocks, %)"
    )
    curves = {}
    for path in options.graphs:
        for name, network, wall_floor, persist in ways(volume(path)):
            recalls = filling(network, wall_floor, persist)
            curves.setdefault(path.stem, recalls)
            ends = {c: (100 * dice(recall)[-1], 100 * recall[-1]) for c, recall in recalls.items()}
            print(
                f"{path.stem}, {name}:",
                ", ".join(f"{c}: {d:.0f}/{r:.0f}" for c, (d, r) in ends.items()),
                flush=True,
            )
    draw(curves, options.output / "filling.png")


if __name__ == "__main__":
    main()
