"""How fast bubbles fill a network's image: figure 3 of Milecki et al. 2021, and the ground truth of its Table II.

Run: `python examples/filling.py GRAPH [GRAPH …] --output FOLDER`, with graphs as `read_graph` takes them, in
micrometres. Prints, for each graph and each way that bubbles may move, Dice and recall of the union of 800 blocks at 1,
5, 10 and 20 bubbles/mm³ against all 20 000 bubbles (4000 blocks at 5); writes FOLDER/filling.png for the default way.

Precision is 1 by definition, so Dice follows from recall. The blocks of a concentration come from the 20 000 bubbles in
one of two ways: as cuts, each bubble in one block at most, so that 800 blocks at 20/mm³ hold 16 000 of them; or as
draws, every block at random and on its own, so that they hold 11 000.
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
N_REFERENCE, N_BLOCKS = 20_000, 800  # bubbles, blocks
CONCENTRATIONS = (1, 5, 10, 20)
PAPER = {1: (52, 35), 5: (77, 63), 10: (88, 78), 20: (94, 89)}  # Dice and recall, Table II
HINGOT = VelocityLaw(exponent=1.9, intercept=-6.0)
HINGOT_PASSAGES = 3.7  # ln of bubbles that pass a vessel = 3.7 ln d − 8.2, of the same study
MEASURED = ((4e-6, 1.4e-3), (10e-6, 1.6e-3), (40e-6, 4e-3))  # about as fast as capillaries are measured
PERFUSION, PARABOLA = 1 / 60, 2.0


def volume(path: Path) -> VesselGraph:
    """The cube of a graph, dilated, as the pipeline makes it."""
    graph, _ = clean_graph(read_graph(path, voxel_size=(1e-6, 1e-6, 1e-6), connected=False), source=str(path))
    return dilate(cut_cube(graph, side=CUBE), DILATION)


def ways(graph: VesselGraph) -> Iterator[tuple[str, BubbleNetwork, float, int]]:
    """Name, network, wall floor, and number of blocks that the same bubbles persist over."""
    flow = solve_flow(graph)
    at_law = speed_by_law(graph, HINGOT)
    law = prepare_network(graph, flow, speed=at_law)
    yield "default: the paper's law, fresh bubbles in each block", law, 0.3, 1
    yield "bubbles at the wall stand still", law, 0.0, 1
    yield "the same bubbles for 10 blocks on end", law, 0.3, 10
    yield "the same bubbles for 100 blocks on end", law, 0.3, 100
    yield "starts uniform over vessel length", starting_by(law, law.length), 0.3, 1
    yield "starts by volume and speed", starting_by(law, law.volume * law.speed), 0.3, 1
    entries = law.length * law.diameter ** (HINGOT_PASSAGES - HINGOT.exponent)
    yield "starts by Hingot's passages", starting_by(law, entries), 0.3, 1
    yield "paths dilated with the graph: twice the speed", law._replace(speed=DILATION * law.speed), 0.3, 1
    wider = law._replace(speed=DILATION**HINGOT.exponent * law.speed)
    yield "the law at the dilated diameter: 3.7 times the speed", wider, 0.3, 1
    table = prepare_network(graph, flow, speed=speed_by_table(graph, MEASURED))
    yield "measured capillary speeds", table, 0.3, 1
    solved = speed_by_flow(graph, flow, perfusion=PERFUSION, tissue_volume=CUBE**3, profile_exponent=PARABOLA)
    yield "speeds of the solved flow", prepare_network(graph, flow, speed=solved), 0.3, 1


def starting_by(network: BubbleNetwork, weight: NDArray[np.float64]) -> BubbleNetwork:
    """The network with first edges drawn by another weight than volume."""
    return network._replace(start_cumulative=np.cumsum(weight) / weight.sum())


def bubble_pixels(network: BubbleNetwork, wall_floor: float, persist: int) -> list[NDArray[np.int64]]:
    """Pixels that each of the reference's bubbles passes in its block, those of a block together."""
    n_pixels = round(WINDOW / PIXEL)
    axis = PIXEL * (np.arange(n_pixels) - (n_pixels - 1) / 2)
    events = np.arange(FRAMES)[:, None] / RATE + np.arange(ANGLES) / (ANGLES * RATE)
    times = (events + np.arange(persist)[:, None, None] * FRAMES / RATE).reshape(-1)
    together = 5 * 100 // persist  # bubbles at a time; the same ones for each of `persist` blocks
    pixels = []
    for first in range(0, N_REFERENCE, together * persist):
        rng = np.random.default_rng(first)
        bubbles = simulate_bubbles(
            network,
            n_bubbles=together,
            event_times=times,
            profile_exponent=PARABOLA,
            wall_floor=wall_floor,
            rng=rng,
        )
        for block in np.split(bubbles.position, persist):
            for bubble in range(together):
                seen = track_map(block[:, bubble : bubble + 1], np.ones(1, bool), x=axis, z=axis)
                pixels.append(np.flatnonzero(seen))
    return pixels


def filling(pixels: list[NDArray[np.int64]], *, drawn: bool) -> dict[int, NDArray[np.float64]]:
    """Recall after each block, by concentration; blocks are cuts of the bubbles or drawn from them."""
    reference = np.unique(np.concatenate(pixels)).size
    recalls = {}
    for concentration in CONCENTRATIONS:
        n_taken = concentration * N_BLOCKS
        # a thinner cut has bubbles of as many blocks of the reference, and fewer of each
        taken = np.arange(n_taken) * max(1, 5 // concentration)
        if drawn:
            taken = np.random.default_rng(concentration).integers(N_REFERENCE, size=n_taken)
        seen = np.zeros(round(WINDOW / PIXEL) ** 2, bool)
        counts = []
        for block in np.split(taken, N_BLOCKS):
            for bubble in block:
                seen[pixels[bubble]] = True
            counts.append(int(seen.sum()))
        recalls[concentration] = np.array(counts) / reference
    return recalls


def draw(curves: dict[str, dict[int, NDArray[np.float64]]], path: Path) -> None:
    """A column for each graph, a row for cuts and one for draws; the paper's Table II as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    n_graphs = len(curves) // 2
    figure, axes = plt.subplots(
        2, n_graphs, figsize=(4.5 * n_graphs + 1.2, 7), layout="constrained", squeeze=False
    )
    for axis, (name, recalls) in zip(axes.T.flat, curves.items(), strict=True):
        for colour, (concentration, recall) in zip(("C0", "C1", "C2", "C3"), recalls.items(), strict=True):
            axis.plot(
                np.arange(1, len(recall) + 1), 100 * dice(recall), color=colour, label=f"{concentration}/mm³"
            )
            axis.plot(N_BLOCKS, PAPER[concentration][0], "o", color=colour, clip_on=False)
        axis.set(xlim=(0, N_BLOCKS), ylim=(0, 100), xlabel="blocks", title=name)
        axis.set_ylabel("Dice against all bubbles, %")
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
            pixels = bubble_pixels(network, wall_floor, persist)
            for drawn in (False, True):
                recalls = filling(pixels, drawn=drawn)
                if name.startswith("default"):
                    curves[f"{path.stem}, blocks {'drawn' if drawn else 'cut'}"] = recalls
                ends = {c: (100 * dice(recall)[-1], 100 * recall[-1]) for c, recall in recalls.items()}
                print(
                    f"{path.stem}, {name}, blocks {'drawn' if drawn else 'cut'}:",
                    ", ".join(f"{c}: {d:.0f}/{r:.0f}" for c, (d, r) in ends.items()),
                    flush=True,
                )
    draw(curves, options.output / "filling.png")


if __name__ == "__main__":
    main()
