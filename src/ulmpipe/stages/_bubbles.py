"""Bubbles of one volume, block by block, as every stage that needs them draws or reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.reflectivity import bubble_radius, reflectivity_of_radius
from ulmpipe.flow.bubbles import BubbleNetwork, Bubbles, prepare_network, simulate_bubbles
from ulmpipe.flow.haemodynamics import solve_flow
from ulmpipe.flow.velocity import VelocityLaw, pulsatile_time, speed_by_flow, speed_by_law, speed_by_table
from ulmpipe.io.stores import read_block
from ulmpipe.randomness import generator
from ulmpipe.stages._parameters import Parameters, event_times
from ulmpipe.vessels.graph import VesselGraph

PER_MM3 = 1e9


def network_of(parameters: Parameters, graph: VesselGraph) -> BubbleNetwork:
    """The flow in a graph, with the speeds that the section `flow` asks for."""
    section = parameters["flow"]
    flow = solve_flow(graph, haematocrit=section["haematocrit"])
    if section["speed"] == "flow":
        tissue_volume = (parameters["side"] / graph.dilation) ** 3
        speed = speed_by_flow(
            graph,
            flow,
            perfusion=section["perfusion"],
            tissue_volume=tissue_volume,
            profile_exponent=section["profile_exponent"],
        )
    elif section["speed"] == "table":
        speed = speed_by_table(graph, section["velocity_table"])
    else:
        speed = speed_by_law(graph, VelocityLaw(**section["velocity_law"]))
    return prepare_network(graph, flow, speed=speed, bubble_radius=section["bubble_radius"])


def count_bubbles(parameters: Parameters, block: int) -> int:
    """Number of bubbles of a block of the dense distribution: a Poisson number."""
    mean = parameters["concentration_per_mm3"] * PER_MM3 * parameters["side"] ** 3
    return int(generator(parameters["seed"], "bubbles", parameters["name"], block, "count").poisson(mean))


def draw_bubbles(parameters: Parameters, network: BubbleNetwork, block: int) -> Bubbles:
    """Trajectories of one block of the dense distribution, which begins at any time of a heartbeat."""
    own = (parameters["seed"], "bubbles", parameters["name"], block)
    steady_time, factor = pulsatile_time(
        event_times(parameters).ravel(),
        **parameters["flow"]["pulsatility"],
        phase=generator(*own, "heartbeat").uniform(0, 2 * np.pi),
    )
    steady = simulate_bubbles(
        network,
        n_bubbles=count_bubbles(parameters, block),
        event_times=steady_time,
        profile_exponent=parameters["flow"]["profile_exponent"],
        wall_floor=parameters["flow"]["wall_floor"],
        rng=generator(*own),
    )
    return replace(steady, velocity=steady.velocity * factor.astype(np.float32)[:, None, None])


def read_bubbles(store: Any, block: int, *, concentration_per_mm3: float) -> Bubbles:
    """Bubbles of one stored block, cut by rank to a concentration."""
    rank = read_block(store["rank"], block)
    kept = _kept(store, rank, concentration_per_mm3)
    names = ("position", "velocity", "vessel", "diameter", "life")
    columns = {name: read_block(store[name], block)[:, kept] for name in names}
    return Bubbles(rank=rank[kept], **columns)


def read_reflectivity(
    parameters: Parameters, store: Any, block: int, *, concentration_per_mm3: float
) -> NDArray[np.float32]:
    """Reflectivity of the bubbles of `read_bubbles`, in its order.

    A bubble's size follows from the seed, the block, its place among the bubbles of the dense set and its life
    there: a cut by rank leaves it as it is, and who takes the place of one that left has a size of its own.

    Returns
    -------
    (bubble,) or (frame, bubble) float32
        By the section `bubbles`; in a frame during which bubbles change, that of the middle angle.
    """
    sizes = parameters["bubbles"]
    rank = read_block(store["rank"], block)
    kept = _kept(store, rank, concentration_per_mm3)
    if sizes["reflectivity"] == "uniform":
        return np.ones(np.count_nonzero(kept), np.float32)
    n_angles = len(parameters["sequence"]["angles_deg"])
    life = read_block(store["life"], block)[n_angles // 2 :: n_angles, kept]
    # one stream a life, and a bubble's number in it is its place: more bubbles do not change the first ones
    quantile = np.array(
        [
            generator(parameters["seed"], "bubble_size", parameters["name"], block, each).random(len(rank))
            for each in range(life.max(initial=0) + 1)
        ]
    )[:, kept]
    radius = bubble_radius(
        np.take_along_axis(quantile, life, axis=0),
        median_radius=sizes["median_radius"],
        radius_spread=sizes["radius_spread"],
        largest_radius=sizes["largest_radius"],
    )
    return reflectivity_of_radius(
        radius, median_radius=sizes["median_radius"], exponent=sizes["reflectivity_exponent"]
    )


def _kept(store: Any, rank: NDArray[np.float32], concentration_per_mm3: float) -> NDArray[np.bool_]:
    """Which bubbles of the dense set belong to a concentration."""
    return np.asarray(rank < concentration_per_mm3 / store.attrs["concentration_per_mm3"])
