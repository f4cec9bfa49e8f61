from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import kstest

from ulmpipe.errors import InputError
from ulmpipe.flow.bubbles import (
    BubbleNetwork,
    Bubbles,
    prepare_network,
    simulate_bubbles,
)
from ulmpipe.flow.haemodynamics import solve_flow
from ulmpipe.flow.velocity import VelocityLaw, centreline_speed, speed_by_flow, speed_by_law
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN, VesselGraph, dilate
from ulmpipe.vessels.synthetic import synthetic_cortex

MICRON = 1e-6
HINGOT = VelocityLaw(exponent=1.9, intercept=-6.0)
EVENT_TIMES = (np.arange(512)[:, None] * 1e-3 + np.arange(3) / 3e3).ravel()


def network(positions: object, edges: object, radius: object, ends: tuple[int, int]) -> VesselGraph:
    points = np.array(positions, dtype=float) * MICRON
    vessel_type = np.full(len(points), CAPILLARY, dtype=np.int8)
    vessel_type[list(ends)] = ARTERY, VEIN
    boundary = np.zeros(len(points), dtype=bool)
    boundary[list(ends)] = True
    radii = np.broadcast_to(np.array(radius, dtype=float), len(points)) * MICRON
    return VesselGraph(points, np.array(edges, dtype=np.int64), radii, vessel_type, boundary)


def prepared(graph: VesselGraph, *, bubble_radius: float = 0.0) -> BubbleNetwork:
    return prepare_network(
        graph, solve_flow(graph), speed=speed_by_law(graph, HINGOT), bubble_radius=bubble_radius
    )


def run(
    graph: VesselGraph | BubbleNetwork,
    n_bubbles: int,
    times: object = EVENT_TIMES,
    *,
    profile_exponent: float = 2.0,
    wall_floor: float = 0.0,
    seed: int = 0,
) -> Bubbles:
    return simulate_bubbles(
        prepared(graph) if isinstance(graph, VesselGraph) else graph,
        n_bubbles=n_bubbles,
        event_times=np.asarray(times),
        profile_exponent=profile_exponent,
        wall_floor=wall_floor,
        rng=np.random.default_rng(seed),
    )


def tube(length: float = 1000, radius: float = 10) -> VesselGraph:
    """A straight tube along x in ten pieces, stored against the flow."""
    x = np.linspace(0, length, 11)
    edges = np.stack([np.arange(1, 11), np.arange(10)], axis=1)
    return network(np.stack([x, 0 * x, 0 * x], 1), edges, radius, (0, 10))


def loop() -> VesselGraph:
    """A trunk that divides into a wide and a narrow curved branch, joins again, and has a dead end."""
    angle = np.linspace(0, np.pi, 13)[1:-1]
    wide = np.stack([100 - 50 * np.cos(angle), 50 * np.sin(angle), 10 * np.sin(3 * angle)], 1)
    narrow = np.stack([100 - 50 * np.cos(angle), -50 * np.sin(angle), 0 * angle], 1)
    points = np.concatenate([[[0, 0, 0], [50, 0, 0], [150, 0, 0], [200, 0, 0], [50, 0, 60]], wide, narrow])
    upper, lower = np.arange(5, 16), np.arange(16, 27)
    chains = [[0, 1], [1, *upper, 2], [1, *lower, 2], [2, 3], [1, 4]]
    edges = np.concatenate([np.stack([chain[:-1], chain[1:]], 1) for chain in chains])
    return network(points, edges, [8] * 4 + [4] + [6] * 11 + [5] * 11, (0, 3))


def test_a_bubble_in_a_tube_moves_straight_at_the_speed_of_its_radius() -> None:
    radius = 10 * MICRON
    bubbles = run(tube(), 300, np.linspace(0, 0.2, 50))
    start = bubbles.position[0].astype(float)
    profile = 1 - (start[:, 1] ** 2 + start[:, 2] ** 2) / radius**2
    assert profile.min() >= 0
    speed = centreline_speed(HINGOT, np.array(2 * radius)) * profile
    expected = start[:, 0] + speed * np.linspace(0, 0.2, 50)[:, None]
    inside = expected < 1e-3
    assert 0.5 < inside.mean() < 1  # some leave
    np.testing.assert_allclose(bubbles.position[..., 0][inside], expected[inside], rtol=0, atol=3e-10)
    off_axis = np.abs(bubbles.position[..., 1:] - start[:, 1:])[inside]
    assert off_axis.max() < 1e-10
    np.testing.assert_allclose(bubbles.velocity[0], np.stack([speed, 0 * speed, 0 * speed], 1), atol=1e-9)


def test_bubbles_start_uniform_over_the_cross_section_and_along_the_tube() -> None:
    position = run(tube(), 4000, [0.0]).position[0].astype(float) / MICRON
    q = (position[:, 1] ** 2 + position[:, 2] ** 2) / 10**2
    angle = np.arctan2(position[:, 2], position[:, 1]) / (2 * np.pi) + 0.5
    for uniform in (q, angle, position[:, 0] / 1000):
        assert kstest(uniform, "uniform").pvalue > 1e-3


def test_bubbles_start_in_a_vessel_in_proportion_to_its_volume() -> None:
    points = [[0, 0, 0], [300, 0, 0], [301, 0, 0], [700, 0, 0]]
    graph = network(points, [[0, 1], [1, 2], [2, 3]], [12, 12, 6, 6], (0, 3))
    share = np.bincount(run(graph, 20000, [0.0]).vessel[0], minlength=3) / 20000
    volume = np.array([12**2 * 300, 6**2 * 1, 6**2 * 399])
    np.testing.assert_allclose(share, volume / volume.sum(), atol=0.012)


def test_bubbles_at_the_wall_move_at_the_floor() -> None:
    slow = np.linalg.norm(run(tube(), 2000, [0.0], wall_floor=0.3).velocity[0], axis=1)
    centre = centreline_speed(HINGOT, np.array(20e-6))
    assert slow.min() == pytest.approx(0.3 * centre, rel=1e-5)
    assert np.mean(slow < 0.3001 * centre) == pytest.approx(0.3, abs=0.04)


def test_speed_belongs_to_the_native_diameter_in_a_dilated_network() -> None:
    native, twice = run(tube(), 5, [0.0, 0.01]), run(dilate(tube(), 2.0), 5, [0.0, 0.01])
    np.testing.assert_allclose(twice.velocity, native.velocity, rtol=1e-5)
    np.testing.assert_allclose(twice.position[0], 2 * native.position[0], rtol=1e-5)


def test_branches_are_taken_in_proportion_to_their_flow() -> None:
    graph = loop()
    flow = np.abs(solve_flow(graph).edge_flow)
    bubbles = run(graph, 3000, np.arange(0, 4, 0.002), wall_floor=0.5)
    entered = np.diff((bubbles.vessel == 1).astype(int), axis=0) == 1
    other = np.diff((bubbles.vessel == 13).astype(int), axis=0) == 1
    taken, n = entered.sum() / (entered.sum() + other.sum()), entered.sum() + other.sum()
    expected = flow[1] / (flow[1] + flow[13])
    assert n > 3000
    assert taken == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))


def test_paths_are_continuous_and_the_velocity_is_their_derivative() -> None:
    times = np.arange(0, 1.5, 2e-4)
    bubbles = run(loop(), 100, times, wall_floor=0.2)
    same_life = np.diff(bubbles.life, axis=0) == 0
    same_edge = same_life & (np.diff(bubbles.vessel, axis=0) == 0)
    position, velocity = bubbles.position.astype(float), bubbles.velocity.astype(float)
    step = np.diff(position, axis=0)
    fastest = np.linalg.norm(velocity, axis=-1).max()
    assert fastest < 1.5 * centreline_speed(HINGOT, np.array(16e-6))
    assert np.linalg.norm(step, axis=-1)[same_life].max() <= fastest * 2e-4 * 1.01
    assert (same_life & ~same_edge).sum() > 500  # nodes were passed
    np.testing.assert_allclose((step / 2e-4)[same_edge], velocity[1:][same_edge], atol=2e-6)


def test_bubbles_stay_inside_the_vessels() -> None:
    graph = loop()
    position = run(graph, 200, np.arange(0, 1, 5e-3)).position.reshape(-1, 3).astype(float)
    start = graph.positions[graph.edges[:, 0]]
    along = graph.positions[graph.edges[:, 1]] - start
    to_start = position[:, None] - start
    fraction = np.clip(np.sum(to_start * along, -1) / np.sum(along**2, -1), 0, 1)
    distance = np.linalg.norm(to_start - fraction[..., None] * along, axis=-1)
    widest = graph.radius[graph.edges].max(axis=1)
    assert np.min(distance / widest, axis=1).max() < 1.001


def test_a_bubble_keeps_its_distance_from_the_axis_through_a_bend() -> None:
    straight, angle = np.arange(0, 200, 10.0), np.linspace(0, np.pi / 2, 9)
    before = np.stack([straight - 200, 0 * straight, 0 * straight], 1)
    bend = np.stack([40 * np.sin(angle), 40 - 40 * np.cos(angle), 0 * angle], 1)
    after = np.stack([0 * straight + 40, straight + 50, 0 * straight], 1)
    points = np.concatenate([before, bend, after])
    edges = np.stack([np.arange(len(points) - 1), np.arange(1, len(points))], 1)
    bubbles = run(network(points, edges, 10, (0, len(points) - 1)), 400, np.arange(0, 0.6, 2e-3))
    x, y, z = np.moveaxis(bubbles.position.astype(float) / MICRON, -1, 0)
    first, last = (x < -60) & (bubbles.life == 0), (y > 110) & (bubbles.life == 0)
    passed = first[0] & last.any(axis=0)
    assert passed.sum() > 20
    column, late = np.flatnonzero(passed), last.argmax(axis=0)[passed]
    distance = np.hypot(y, z)[0, column]
    np.testing.assert_allclose(np.hypot(x - 40, z)[late, column], distance, atol=0.05)
    np.testing.assert_allclose(z[late, column], z[0, column], atol=0.05)  # nor does it turn about the axis


def test_no_bubble_enters_a_dead_end() -> None:
    graph = loop()
    visited = np.unique(run(graph, 500, np.arange(0, 2, 0.01)).vessel)
    assert visited.tolist() == list(range(len(graph.edges) - 1))


def test_a_bubble_that_leaves_comes_back_at_an_inlet_as_another() -> None:
    times = np.arange(0, 1, 1e-3)
    bubbles = run(tube(length=200), 2000, times, wall_floor=0.1)
    born = np.diff(bubbles.life, axis=0)
    assert set(np.unique(born)) == {0, 1}
    x = bubbles.position[..., 0]
    assert np.all(np.diff(x, axis=0)[born == 0] > 0)
    assert np.all(x[1:][born == 1] < 5e-6)
    assert np.all(x[:-1][born == 1] > 195e-6)
    radial = np.hypot(bubbles.position[..., 1], bubbles.position[..., 2])[1:][born == 1]
    q = np.sort((radial / 10e-6) ** 2)
    floor = 0.1
    in_the_middle, at_the_wall = q - q**2 / 2, (1 - floor**2) / 2 + floor * (q - 1 + floor)
    flux = np.where(q < 1 - floor, in_the_middle, at_the_wall) / ((1 + floor**2) / 2)
    assert len(q) > 1000
    assert np.abs(flux - (np.arange(len(q)) + 0.5) / len(q)).max() < 2 / np.sqrt(len(q))


def test_results_do_not_depend_on_threads() -> None:
    graph = prepared(loop())

    def block(index: int) -> Bubbles:
        rng = np.random.default_rng([7, index])
        return simulate_bubbles(
            graph, n_bubbles=20, event_times=EVENT_TIMES, profile_exponent=2.0, wall_floor=0.3, rng=rng
        )

    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(block, range(8)))
    for index, bubbles in enumerate(threaded):
        np.testing.assert_array_equal(bubbles.position, block(index).position)
    assert not np.array_equal(threaded[0].position, threaded[1].position)


def test_finer_event_times_find_the_bubbles_in_the_same_places() -> None:
    coarse, fine = run(loop(), 50, np.arange(0, 1, 0.02)), run(loop(), 50, np.arange(0, 1, 0.001))
    np.testing.assert_allclose(coarse.position, fine.position[::20], atol=1e-9)


def test_a_synthetic_cortex_carries_bubbles_continuously() -> None:
    graph = dilate(synthetic_cortex(np.random.default_rng(3), side=300e-6), 2.0)
    bubbles = run(graph, 300, EVENT_TIMES, wall_floor=0.3)
    assert bubbles.position.shape == (1536, 300, 3)
    assert bubbles.position.dtype == bubbles.velocity.dtype == np.float32
    assert np.isfinite(bubbles.position).all()
    assert np.abs(bubbles.position).max() < 300e-6 + graph.radius.max()
    speed = np.linalg.norm(bubbles.velocity, axis=-1)
    step = np.linalg.norm(np.diff(bubbles.position, axis=0), axis=-1)[np.diff(bubbles.life, axis=0) == 0]
    assert np.quantile(step, 0.9999) < 10e-3 / 3e3  # a third of a millisecond at 10 mm/s
    assert 1e-5 < np.median(speed) < 1e-3


def test_ranks_are_uniform_so_that_a_cut_is_a_concentration() -> None:
    rank = run(tube(), 5000, [0.0]).rank
    assert kstest(rank, "uniform").pvalue > 1e-3
    assert rank.dtype == np.float32


@pytest.mark.parametrize(
    ("n_bubbles", "times", "more", "message"),
    [
        (-1, [0.0], {}, "n_bubbles is -1"),
        (1, [0.0, -1.0], {}, "event_times"),
        (1, [0.0], {"wall_floor": 1.5}, "wall_floor is 1.5"),
        (1, [0.0], {"profile_exponent": 0.0}, "profile_exponent is 0.0"),
    ],
)
def test_what_is_not_physical_is_refused(
    n_bubbles: int, times: object, more: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tube(), n_bubbles, times, **more)


def test_a_blunter_profile_moves_as_its_power_says() -> None:
    bubbles = run(tube(), 500, [0.0], profile_exponent=5.0)
    distance = np.linalg.norm(bubbles.position[0, :, 1:].astype(float), axis=1) / (10 * MICRON)
    speed = np.linalg.norm(bubbles.velocity[0].astype(float), axis=1)
    np.testing.assert_allclose(
        speed, centreline_speed(HINGOT, np.array(20e-6)) * (1 - distance**5), atol=1e-9
    )


def test_a_bubble_with_a_size_keeps_off_the_wall_and_starts_where_its_centre_can_be() -> None:
    size = 4 * MICRON
    for dilation in (1.0, 2.0):  # its size belongs to the native vessel
        network_for_it = prepared(dilate(tube(), dilation), bubble_radius=size)
        position = run(network_for_it, 4000, [0.0]).position[0].astype(float) / dilation
        q = (position[:, 1] ** 2 + position[:, 2] ** 2) / (6 * MICRON) ** 2
        assert q.max() < 1 + 1e-5
        assert kstest(q, "uniform").pvalue > 1e-3
        speed = np.linalg.norm(run(network_for_it, 4000, [0.0]).velocity[0].astype(float), axis=1)
        expected = centreline_speed(HINGOT, np.array(20e-6)) * (1 - 0.36 * q)
        np.testing.assert_allclose(speed, expected, rtol=1e-4)


def test_a_bubble_enters_no_vessel_narrower_than_itself() -> None:
    graph = loop()  # of branches with radii of 6 and 5 µm, after a trunk of 8
    times = np.arange(0, 2, 0.01)
    free = np.unique(run(graph, 500, times).vessel)
    large = np.unique(run(prepared(graph, bubble_radius=5.5 * MICRON), 500, times).vessel)
    narrow = np.flatnonzero(graph.radius[graph.edges].min(axis=1) < 5.5 * MICRON)
    assert set(free) & set(narrow)
    assert set(large) == set(free) - set(narrow)


def test_a_bubble_that_no_vessel_takes_further_is_replaced_at_an_inlet() -> None:
    x = np.arange(0, 210, 10.0)
    radius = np.where(x < 100, 8, 3)
    edges = np.stack([np.arange(20), np.arange(1, 21)], 1)
    bottle = network(np.stack([x, 0 * x, 0 * x], 1), edges, radius, (0, 20))
    bubbles = run(prepared(bottle, bubble_radius=5 * MICRON), 300, np.arange(0, 1, 1e-3), wall_floor=0.2)
    assert bubbles.position[..., 0].max() <= 90.001e-6
    born = np.diff(bubbles.life, axis=0) == 1
    assert born.sum() > 100
    assert bubbles.position[1:, :, 0][born].max() < 5e-6
    with pytest.raises(InputError, match="bubble_radius is 9e-06 m, and every vessel where blood enters"):
        prepared(bottle, bubble_radius=9 * MICRON)


def test_every_event_knows_the_native_diameter_of_its_vessel() -> None:
    graph = dilate(loop(), 2.0)
    bubbles = run(graph, 50, np.arange(0, 1, 0.01))
    native = graph.radius[graph.edges].min(axis=1)  # half of twice
    assert bubbles.diameter.dtype == np.float32
    np.testing.assert_allclose(bubbles.diameter, native[bubbles.vessel], rtol=1e-6)


def test_a_uniform_concentration_stays_uniform_where_speeds_are_those_of_the_flow() -> None:
    """Blood does not pile up: with the solved flow and its parabola, volume stays evenly filled, vessel by vessel."""
    graph = loop()
    flow = solve_flow(graph)
    speed = speed_by_flow(graph, flow, perfusion=0.5, tissue_volume=(200e-6) ** 3, profile_exponent=2.0)
    carried = prepare_network(graph, flow, speed=speed)
    fastest = carried.speed.max()
    # long enough for most to have been replaced several times
    bubbles = run(carried, 6000, np.linspace(0, 4 * 200e-6 / fastest * 5, 3))
    assert np.mean(bubbles.life[-1] > 0) > 0.7
    for event in (0, -1):
        share = np.bincount(bubbles.vessel[event], minlength=len(graph.edges))[carried.edge] / 6000
        np.testing.assert_allclose(share, carried.volume / carried.volume.sum(), atol=0.015)
