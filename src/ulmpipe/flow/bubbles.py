"""Microbubbles carried through a vessel network, exact in time and continuous in space.

After `ulmpipe.flow.haemodynamics`, before `ulmpipe.acoustics`. A bubble keeps its relative distance from the
axis and moves at v(r, R) = v_centre(R)·(1 − (r/R)ⁿ), with n = 2 in Milecki et al. 2021, eq. 2 (DOI
10.1109/TMI.2021.3056951), where the centreline speed follows the diameter (Hingot et al. 2019). Nothing here
depends on threads, blocks or other bubbles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import splu

from ulmpipe.errors import InputError
from ulmpipe.flow.haemodynamics import Flow, edge_radius
from ulmpipe.vessels.graph import VesselGraph, edge_lengths

_OUT = -1  # the bubble has left the network


class BubbleNetwork(NamedTuple):  # which numba takes as it is
    """The vessels that carry flow, oriented along it, with all that bubbles look up on their way.

    K edges carry flow out of the graph's E; N is the graph's number of nodes. Lengths in m, speeds in m/s.

    Attributes
    ----------
    edge : (K,) int32
        Index of the edge in the graph.
    start, along : (K, 3) float64
        Upstream end of the edge and the vector from there to its downstream end.
    length, volume, speed : (K,) float64
        Length, volume in m³ that centres of bubbles can be in, and centreline speed.
    diameter : (K,) float32
        Native diameter.
    reach : (K,) float64
        How far from the axis a bubble's centre can be, as a share of the radius: 1 for a bubble without size.
    end_reach : (K, 2) float64
        The same at the upstream and downstream end, in m.
    end_tangent : (K, 2, 3) float64
        Direction of flow through the upstream and downstream node.
    downstream : (K,) int64
        Node at the downstream end.
    out_first, out_edge, out_cumulative : (N + 1,) int64, (K,) int64, (K,) float64
        Edges that leave node n: ``out_edge[out_first[n] : out_first[n + 1]]``, with cumulative probabilities;
        what is missing to 1 leaves the network at this node.
    start_cumulative : (K,) float64
        Cumulative probability of a bubble's first edge, by volume.
    inlet_edge, inlet_cumulative : (I,) int64, (I,) float64
        Edges where bubbles re-enter, with cumulative probabilities by inflow.
    """

    edge: NDArray[np.int32]
    start: NDArray[np.float64]
    along: NDArray[np.float64]
    length: NDArray[np.float64]
    volume: NDArray[np.float64]
    speed: NDArray[np.float64]
    diameter: NDArray[np.float32]
    reach: NDArray[np.float64]
    end_reach: NDArray[np.float64]
    end_tangent: NDArray[np.float64]
    downstream: NDArray[np.int64]
    out_first: NDArray[np.int64]
    out_edge: NDArray[np.int64]
    out_cumulative: NDArray[np.float64]
    start_cumulative: NDArray[np.float64]
    inlet_edge: NDArray[np.int64]
    inlet_cumulative: NDArray[np.float64]


@dataclass(frozen=True)
class Bubbles:
    """Trajectories of one block; events are frames × angles in time order.

    Attributes
    ----------
    position : (event, bubble, 3) float32
        x, y, z in m.
    velocity : (event, bubble, 3) float32
        Time derivative of the position in m/s.
    vessel : (event, bubble) int32
        Edge of the graph the bubble is in.
    diameter : (event, bubble) float32
        Native diameter of that vessel in m.
    life : (event, bubble) int16
        How often the bubble has left and re-entered: a change means that a new bubble took its place.
    rank : (bubble,) float32
        Uniform in [0, 1): the bubbles with rank < c / c_max are a population of concentration c.
    """

    position: NDArray[np.float32]
    velocity: NDArray[np.float32]
    vessel: NDArray[np.int32]
    diameter: NDArray[np.float32]
    life: NDArray[np.int16]
    rank: NDArray[np.float32]


def prepare_network(
    graph: VesselGraph, flow: Flow, *, speed: NDArray[np.float64], bubble_radius: float = 0.0
) -> BubbleNetwork:
    """Orient the vessels along the flow and tabulate what bubbles need.

    Edges without flow are left out, so no bubble starts in or enters a dead end; nor does it enter a vessel that is no
    wider than itself, and where no other leads on it leaves the network.

    Parameters
    ----------
    graph : VesselGraph
        Network, dilated or not.
    flow : Flow
        From `solve_flow` of the same graph.
    speed : (E,) float64
        On the axis of every edge, m/s; see `ulmpipe.flow.velocity`.
    bubble_radius : float
        Of all bubbles, m, to be compared with native radii; it keeps their centres off the wall.

    Returns
    -------
    BubbleNetwork

    Raises
    ------
    InputError
        If the radius is negative, or no bubble that size can come in.
    """
    if not bubble_radius >= 0:
        raise InputError(f"bubble_radius is {bubble_radius} m, expected 0 or more")
    dilated_bubble = bubble_radius * graph.dilation
    edge = np.flatnonzero((flow.edge_flow != 0) & (edge_radius(graph) > dilated_bubble))
    strength = np.abs(flow.edge_flow[edge])
    forward = flow.edge_flow[edge] > 0
    tail, head = np.where(forward[:, None], graph.edges[edge], graph.edges[edge, ::-1]).T
    along = graph.positions[head] - graph.positions[tail]
    length = edge_lengths(graph)[edge]
    radius = edge_radius(graph)[edge]
    volume = np.pi * (radius - dilated_bubble) ** 2 * length

    n_nodes = len(graph.positions)
    out_edge = np.argsort(tail, kind="stable")
    out_first = np.searchsorted(tail[out_edge], np.arange(n_nodes + 1))
    leaving = np.bincount(tail, strength, n_nodes)
    through = leaving + np.maximum(-flow.boundary_flow, 0.0)
    out_cumulative = np.cumsum(strength[out_edge])
    out_cumulative -= np.concatenate([[0.0], out_cumulative])[out_first[tail[out_edge]]]
    out_cumulative /= through[tail[out_edge]]
    closed = (through == leaving) & (np.diff(out_first) > 0)
    out_cumulative[out_first[1:][closed] - 1] = 1.0  # not 1 − rounding: nobody leaves at an inner node

    entering = np.maximum(flow.boundary_flow, 0.0)[tail] * strength / leaving[tail]
    inlet_edge = np.flatnonzero(entering)
    if not inlet_edge.size:
        raise InputError(
            f"bubble_radius is {bubble_radius} m, and every vessel where blood enters is narrower; expected less"
        )
    end_tangent = _node_tangent(n_nodes, tail, head, along, radius)
    end_reach = np.maximum(np.stack([graph.radius[tail], graph.radius[head]], axis=1) - dilated_bubble, 0.0)
    return BubbleNetwork(
        edge=edge.astype(np.int32),
        start=np.ascontiguousarray(graph.positions[tail]),
        along=along,
        length=length,
        volume=volume,
        speed=np.asarray(speed, dtype=np.float64)[edge],
        diameter=(2 * radius / graph.dilation).astype(np.float32),
        reach=1.0 - dilated_bubble / radius,
        end_reach=end_reach,
        end_tangent=np.stack([end_tangent[tail], end_tangent[head]], axis=1),
        downstream=head.astype(np.int64),
        out_first=out_first.astype(np.int64),
        out_edge=out_edge.astype(np.int64),
        out_cumulative=out_cumulative,
        start_cumulative=_cumulative(volume),
        inlet_edge=inlet_edge.astype(np.int64),
        inlet_cumulative=_cumulative(entering[inlet_edge]),
    )


def simulate_bubbles(
    network: BubbleNetwork,
    *,
    n_bubbles: int,
    event_times: NDArray[np.float64],
    profile_exponent: float,
    wall_floor: float,
    rng: np.random.Generator,
) -> Bubbles:
    """Move a constant number of bubbles through the network.

    At the first event bubbles are uniform over the volume of the vessels that carry flow. Each keeps its
    relative distance r/R from the axis and moves at ``speed · max(1 − (r/R)ⁿ, wall_floor)``; at a node it
    takes an outgoing edge with a probability proportional to the flow. One that leaves re-enters at once at
    an inlet drawn by inflow, with a new lateral position drawn in proportion to the speed there (which is
    what a uniform concentration upstream brings in).

    The lateral offset is a vector perpendicular to the direction of flow at the nodes, carried from node to
    node by the least rotation and interpolated between them, so that paths are continuous through bends and
    branchings.

    Parameters
    ----------
    network : BubbleNetwork
        From `prepare_network`.
    n_bubbles : int
        How many at any time.
    event_times : (event,) float64
        Not decreasing, in s.
    profile_exponent : float
        n, above 0: 2 is a parabola (the paper), more is blunter, as blood is.
    wall_floor : float
        Least value of 1 − (r/R)ⁿ in [0, 1]; with 0 a bubble at the wall never moves (paper: 0, the lab's code:
        0.3).
    rng : numpy.random.Generator
        Gives every bubble the seed of a stream of its own.

    Returns
    -------
    Bubbles

    Raises
    ------
    InputError
        If `n_bubbles` is negative, `profile_exponent` not positive, `wall_floor` not in [0, 1], or time runs backwards.
    """
    if n_bubbles < 0:
        raise InputError(f"n_bubbles is {n_bubbles}, expected 0 or more")
    if not profile_exponent > 0:
        raise InputError(f"profile_exponent is {profile_exponent}, expected a number above 0")
    if not 0 <= wall_floor <= 1:
        raise InputError(f"wall_floor is {wall_floor}, expected a number from 0 to 1")
    times = np.ascontiguousarray(event_times, dtype=np.float64)
    if times.ndim != 1 or not np.all(np.diff(times) >= 0):
        raise InputError(
            f"event_times has shape {times.shape}, expected one axis of times that never decrease"
        )
    seeds = rng.integers(0, 2**64, size=n_bubbles, dtype=np.uint64)
    rank = rng.random(n_bubbles, dtype=np.float32)
    position, velocity, vessel, diameter, life = _move_bubbles(
        seeds, times, float(profile_exponent), float(wall_floor), network
    )
    return Bubbles(
        position=position, velocity=velocity, vessel=vessel, diameter=diameter, life=life, rank=rank
    )


def _cumulative(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    cumulative = np.cumsum(weight)
    return np.asarray(cumulative / cumulative[-1])


def _node_tangent(
    n_nodes: int,
    tail: NDArray[np.int64],
    head: NDArray[np.int64],
    along: NDArray[np.float64],
    radius: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Unit direction of flow through each node, smooth over about one vessel radius.

    Minimises ∫ |t − direction|² + radius² |dt/ds|² over the volume of the vessels. Without the second term
    the zigzag of a measured axis would swing a bubble that is far from it to and fro.
    """
    length = np.linalg.norm(along, axis=1)
    direction = along / length[:, None]
    volume, stiffness = radius**2 * length, radius**4 / length
    row, column = np.concatenate([tail, head, tail, head]), np.concatenate([tail, head, head, tail])
    value = np.concatenate([volume / 2 + stiffness, volume / 2 + stiffness, -stiffness, -stiffness])
    matrix = csr_matrix((value, (row, column)), shape=(n_nodes, n_nodes))
    nodes = np.unique(column)
    right = np.zeros((n_nodes, 3))
    fallback = np.zeros((n_nodes, 3))
    for node in (tail, head):
        np.add.at(right, node, direction * volume[:, None] / 2)
        fallback[node] = direction
    tangent = np.zeros((n_nodes, 3))
    tangent[nodes] = splu(matrix[nodes][:, nodes].tocsc()).solve(right[nodes])
    norm = np.linalg.norm(tangent, axis=1, keepdims=True)
    opposed = norm < 1e-6  # streams that meet head-on have no mean direction: take one of them
    return np.asarray(np.where(opposed, fallback, tangent / np.where(opposed, 1.0, norm)))


@njit(nogil=True, cache=True)
def _uniform(state: Any) -> Any:
    """Next number in [0, 1) of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one short stream per bubble."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = state[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return float(mixed >> np.uint64(11)) * 2.0**-53


@njit(nogil=True, cache=True)
def _draw(cumulative: Any, state: Any) -> Any:
    """Index drawn from a table of cumulative probabilities."""
    return min(np.searchsorted(cumulative, _uniform(state), side="right"), len(cumulative) - 1)


@njit(nogil=True, cache=True)
def _lateral_vector(tangent: Any, q: float, state: Any, lateral: Any) -> None:
    """Write a vector of length √q perpendicular to `tangent`, at a random angle."""
    least = np.argmin(np.abs(tangent))
    first = -tangent[least] * tangent
    first[least] += 1.0
    first /= np.sqrt(np.sum(first**2))
    angle = 2.0 * np.pi * _uniform(state)
    along_first, along_second = np.sqrt(q) * np.cos(angle), np.sqrt(q) * np.sin(angle)
    for axis in range(3):
        nxt, last = (axis + 1) % 3, (axis + 2) % 3
        second = tangent[nxt] * first[last] - tangent[last] * first[nxt]
        lateral[axis] = along_first * first[axis] + along_second * second


@njit(nogil=True, cache=True)
def _transport(lateral: Any, tangents: Any, result: Any) -> None:
    """Turn `lateral` by the least rotation that takes the first tangent to the second."""
    a, b = tangents[0], tangents[1]
    one_plus_cosine = 1.0 + a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    if one_plus_cosine < 1e-9:  # a U-turn: perpendicular to the one is perpendicular to the other
        for axis in range(3):
            result[axis] = lateral[axis]
        return
    share = (b[0] * lateral[0] + b[1] * lateral[1] + b[2] * lateral[2]) / one_plus_cosine
    for axis in range(3):
        result[axis] = lateral[axis] - share * (a[axis] + b[axis])


@njit(nogil=True, cache=True)
def _next_edge(node: int, network: Any, state: Any) -> Any:
    """Edge taken at a node, or `_OUT`."""
    first, stop = network.out_first[node], network.out_first[node + 1]
    if stop - first == 1 and network.out_cumulative[first] == 1.0:
        return network.out_edge[first]
    draw = _uniform(state)
    for entry in range(first, stop):
        if draw < network.out_cumulative[entry]:
            return network.out_edge[entry]
    return _OUT


@njit(nogil=True, cache=True)
def _profile(q: float, reach: float, exponent: float, floor: float) -> float:
    """Speed over that on the axis, q being the squared distance from it as a share of what the centre can reach."""
    squared = q * reach * reach
    return max(1.0 - (squared if exponent == 2.0 else squared ** (0.5 * exponent)), floor)


@njit(nogil=True, cache=True)
def _move_bubbles(seeds: Any, times: Any, exponent: float, floor: float, network: Any) -> Any:
    """Position, velocity, vessel, its diameter and life of every bubble at every event."""
    length, speed, end_tangent = network.length, network.speed, network.end_tangent
    n_events, n_bubbles = len(times), len(seeds)
    position = np.empty((n_events, n_bubbles, 3), np.float32)
    velocity = np.empty((n_events, n_bubbles, 3), np.float32)
    vessel = np.empty((n_events, n_bubbles), np.int32)
    diameter = np.empty((n_events, n_bubbles), np.float32)
    life = np.empty((n_events, n_bubbles), np.int16)
    state = np.empty(1, np.uint64)
    upstream = np.empty(3)  # lateral offset at the two ends of the edge, as a share of the reach there
    downstream = np.empty(3)
    for bubble in range(n_bubbles):
        state[0] = seeds[bubble]
        here = _draw(network.start_cumulative, state)
        distance = _uniform(state) * length[here]
        q = _uniform(state)  # uniform over the cross-section
        _lateral_vector(end_tangent[here, 0], q, state, upstream)
        _transport(upstream, end_tangent[here], downstream)
        profile = _profile(q, network.reach[here], exponent, floor)
        n_lives = 0
        for event in range(n_events):
            remaining = times[event] - times[event - 1] if event > 0 else 0.0
            while speed[here] * profile * remaining >= length[here] - distance:
                remaining -= (length[here] - distance) / (speed[here] * profile)
                distance = 0.0
                here = _next_edge(network.downstream[here], network, state)
                if here == _OUT:
                    n_lives += 1
                    here = network.inlet_edge[_draw(network.inlet_cumulative, state)]
                    q = _uniform(state)
                    while _uniform(state) >= _profile(q, network.reach[here], exponent, floor):
                        q = _uniform(state)
                    _lateral_vector(end_tangent[here, 0], q, state, upstream)
                else:
                    upstream[:] = downstream
                profile = _profile(q, network.reach[here], exponent, floor)
                _transport(upstream, end_tangent[here], downstream)
            distance += speed[here] * profile * remaining
            fraction = distance / length[here]
            rate = speed[here] * profile / length[here]
            for axis in range(3):
                before = network.end_reach[here, 0] * upstream[axis]
                after = network.end_reach[here, 1] * downstream[axis]
                way = network.along[here, axis] + after - before
                position[event, bubble, axis] = network.start[here, axis] + before + fraction * way
                velocity[event, bubble, axis] = rate * way
            vessel[event, bubble] = network.edge[here]
            diameter[event, bubble] = network.diameter[here]
            life[event, bubble] = n_lives
    return position, velocity, vessel, diameter, life
