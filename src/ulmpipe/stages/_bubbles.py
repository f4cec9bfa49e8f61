"""Bubbles of one volume, block by block, as every stage that needs them draws or reads them."""

from __future__ import annotations

from typing import Any

from ulmpipe.flow.bubbles import BubbleNetwork, Bubbles, VelocityLaw, prepare_network, simulate_bubbles
from ulmpipe.flow.haemodynamics import solve_flow
from ulmpipe.io.stores import read_block
from ulmpipe.randomness import generator
from ulmpipe.stages._parameters import Parameters, event_times
from ulmpipe.vessels.graph import VesselGraph

PER_MM3 = 1e9


def network_of(parameters: Parameters, graph: VesselGraph) -> BubbleNetwork:
    """The flow in a graph under the velocity law of the section `flow`."""
    return prepare_network(
        graph, solve_flow(graph), velocity_law=VelocityLaw(**parameters["flow"]["velocity_law"])
    )


def count_bubbles(parameters: Parameters, block: int) -> int:
    """Number of bubbles of a block of the dense distribution: a Poisson number."""
    mean = parameters["concentration_per_mm3"] * PER_MM3 * parameters["side"] ** 3
    return int(generator(parameters["seed"], "bubbles", parameters["name"], block, "count").poisson(mean))


def draw_bubbles(parameters: Parameters, network: BubbleNetwork, block: int) -> Bubbles:
    """Trajectories of one block of the dense distribution."""
    return simulate_bubbles(
        network,
        n_bubbles=count_bubbles(parameters, block),
        event_times=event_times(parameters).ravel(),
        wall_floor=parameters["flow"]["wall_floor"],
        rng=generator(parameters["seed"], "bubbles", parameters["name"], block),
    )


def read_bubbles(store: Any, block: int, *, concentration_per_mm3: float) -> Bubbles:
    """Bubbles of one stored block, cut by rank to a concentration."""
    rank = read_block(store["rank"], block)
    kept = rank < concentration_per_mm3 / store.attrs["concentration_per_mm3"]
    columns = {
        name: read_block(store[name], block)[:, kept] for name in ("position", "velocity", "vessel", "life")
    }
    return Bubbles(rank=rank[kept], **columns)
