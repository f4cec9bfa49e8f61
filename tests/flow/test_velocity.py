"""Speeds on vessel axes by law, table and flow; viscosity by diameter."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.flow import (
    VelocityLaw,
    prepare_network,
    pulsatile_time,
    relative_viscosity,
    solve_flow,
    speed_by_flow,
    speed_by_law,
    speed_by_table,
)
from ulmpipe.flow.velocity import centreline_speed
from ulmpipe.stages._bubbles import draw_bubbles, network_of
from ulmpipe.vessels.graph import ARTERY, CAPILLARY, VEIN, VesselGraph, dilate
from ulmpipe.vessels.synthetic import synthetic_cortex

MICRON = 1e-6
HINGOT = VelocityLaw(exponent=1.9, intercept=-6.0)


def two_ways(narrow: float = 2.0) -> VesselGraph:
    """A vessel that divides into one of 4 and one of `narrow` µm radius, equally long, which meet again."""
    places = [[-50, 0, 0], [0, 0, 0], [50, 30, 0], [50, -30, 0], [100, 0, 0], [150, 0, 0]]
    return VesselGraph(
        positions=np.array(places, dtype=float) * MICRON,
        edges=np.array([[0, 1], [1, 2], [2, 4], [1, 3], [3, 4], [4, 5]]),
        radius=np.array([5, 5, 4, narrow, 5, 5]) * MICRON,
        vessel_type=np.array([ARTERY, *[CAPILLARY] * 4, VEIN], dtype=np.int8),
        boundary=np.array([True, *[False] * 4, True]),
    )


def test_the_velocity_law_gives_the_end_points_of_the_paper() -> None:
    speed = centreline_speed(HINGOT, np.array([2.0, 57.2]) * MICRON)
    assert round(speed[0] * 1e3, 4) == 0.0093
    assert round(speed[1] * 1e3, 2) == 5.41
    slowest = VelocityLaw(exponent=1.9, intercept=-6.0, minimum=0.5e-3)
    assert centreline_speed(slowest, np.array([2e-6]))[0] == 0.5e-3


def test_speeds_belong_to_the_native_diameter() -> None:
    graph, native = dilate(two_ways(), 2.0), two_ways()
    np.testing.assert_allclose(speed_by_law(graph, HINGOT), speed_by_law(native, HINGOT))
    np.testing.assert_allclose(speed_by_law(native, HINGOT)[1], np.exp(-6 + 1.9 * np.log(8)) * 1e-3)
    flow = [solve_flow(each) for each in (graph, native)]
    settings = {"perfusion": 1 / 60, "tissue_volume": 1e-12, "profile_exponent": 2.0}
    np.testing.assert_allclose(
        speed_by_flow(graph, flow[0], **settings), speed_by_flow(native, flow[1], **settings)
    )


def test_a_table_is_interpolated_in_logarithms_and_holds_at_its_ends() -> None:
    speed = speed_by_table(two_ways(), [[4e-6, 1e-3], [16e-6, 4e-3]])
    np.testing.assert_allclose(speed[[1, 3]], [2e-3, 1e-3])
    np.testing.assert_allclose(
        speed_by_table(two_ways(narrow=0.5), [[4e-6, 1e-3], [5e-6, 4e-3]])[[0, 3]], [4e-3, 1e-3]
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[4e-6, 1e-3], [4e-6, 2e-3]], "expected rising ones"),
        ([[4e-6, 0.0]], "all above 0"),
        ([[4e-6, 1e-3, 1]], "pairs"),
    ],
)
def test_a_wrong_table_is_refused(table, message) -> None:
    with pytest.raises(InputError, match=message):
        speed_by_table(two_ways(), table)


def test_the_solved_flow_brings_the_perfusion_in_and_divides_by_the_fourth_power_of_the_radius() -> None:
    graph = two_ways()
    flow = solve_flow(graph)
    speed = speed_by_flow(graph, flow, perfusion=1 / 60, tissue_volume=6e-12, profile_exponent=2.0)
    entering = 1e-13  # m³/s
    assert speed[0] == pytest.approx(2 * entering / (np.pi * (5 * MICRON) ** 2))
    blunt = speed_by_flow(graph, flow, perfusion=1 / 60, tissue_volume=6e-12, profile_exponent=4.0)
    np.testing.assert_allclose(blunt, 0.75 * speed)  # the mean of 1 - r⁴ is 2/3, of 1 - r² 1/2
    # equal pressures at both ends: flows as the fourth powers of the radii, speeds as their squares
    assert speed[1] / speed[3] == pytest.approx((4 / 2) ** 2)
    through = np.pi / 2 * (speed[1] * (4 * MICRON) ** 2 + speed[3] * (2 * MICRON) ** 2)
    assert through == pytest.approx(entering)


@pytest.mark.parametrize("name", ["perfusion", "tissue_volume", "profile_exponent"])
def test_perfusion_volume_and_exponent_must_be_positive(name) -> None:
    graph = two_ways()
    numbers = {"perfusion": 1.0, "tissue_volume": 1.0, "profile_exponent": 2.0, name: 0.0}
    with pytest.raises(InputError, match=f"{name.replace('_', ' ')} is 0"):
        speed_by_flow(graph, solve_flow(graph), **numbers)


def test_viscosity_in_living_vessels_is_that_of_pries_1994() -> None:
    # the formula by hand: η45 = 3.893 and w = 1.2625 at 10 µm; 3.2 in wide vessels; without cells only the wall is left
    assert relative_viscosity(np.array(10e-6), 0.45) == pytest.approx((1 + 2.893 * 1.2625) * 1.2625, rel=1e-3)
    assert relative_viscosity(np.array(2e-3), 0.45) == pytest.approx(3.2, rel=0.01)
    assert relative_viscosity(np.array(10e-6), 0.0) == pytest.approx((10 / 8.9) ** 2)
    diameter = np.array([3, 5, 8, 15, 30, 60]) * MICRON
    assert (np.diff(relative_viscosity(diameter, 0.45)) < 0).all()  # narrow vessels resist more
    assert (relative_viscosity(diameter, 0.6) > relative_viscosity(diameter, 0.3)).all()
    with pytest.raises(InputError, match="haematocrit is 1"):
        relative_viscosity(diameter, 1.0)


def test_viscosity_by_diameter_takes_flow_from_the_narrower_of_two_ways() -> None:
    graph = two_ways()
    share = []
    for haematocrit in (None, 0.45):
        flow = solve_flow(graph, haematocrit=haematocrit)
        share.append(flow.edge_flow[3] / flow.edge_flow[0])
    resistance = relative_viscosity(np.array([8.0, 4.0]) * MICRON, 0.45)
    wide, narrow = 4.0**4 / resistance[0], 2.0**4 / resistance[1]
    assert share[0] == pytest.approx(2.0**4 / (2.0**4 + 4.0**4))
    assert share[1] == pytest.approx(narrow / (wide + narrow))


def test_flow_is_conserved_with_viscosity_by_diameter() -> None:
    graph = synthetic_cortex(np.random.default_rng(0), side=300e-6)
    flow = solve_flow(graph, haematocrit=0.45)
    tail, head = graph.edges.T
    n_nodes = len(graph.positions)
    net = np.bincount(tail, flow.edge_flow, n_nodes) - np.bincount(head, flow.edge_flow, n_nodes)
    through = np.bincount(graph.edges.ravel(), np.repeat(np.abs(flow.edge_flow), 2), n_nodes)
    inner = flow.boundary_flow == 0
    assert (np.abs(net[inner]) <= 1e-9 * through[inner]).all()


def test_a_stage_takes_the_speeds_that_the_configuration_asks_for() -> None:
    graph, flow = two_ways(), solve_flow(two_ways())
    section = {
        "speed": "law",
        "velocity_law": {"exponent": 1.9, "intercept": -6.0},
        "velocity_table": [[4e-6, 1e-3], [16e-6, 4e-3]],
        "perfusion": 1 / 60,
        "haematocrit": None,
        "profile_exponent": 3.0,
        "bubble_radius": 0.0,
    }
    wanted = {
        "law": speed_by_law(graph, HINGOT),
        "table": speed_by_table(graph, section["velocity_table"]),
        "flow": speed_by_flow(graph, flow, perfusion=1 / 60, tissue_volume=(2e-4) ** 3, profile_exponent=3.0),
    }
    for name, speed in wanted.items():
        network = network_of({"flow": {**section, "speed": name}, "side": 2e-4}, graph)
        np.testing.assert_allclose(network.speed, speed[network.edge])


def test_a_heartbeat_bends_time_by_the_integral_of_its_factor() -> None:
    time = np.linspace(0, 0.5, 2001)
    steady, factor = pulsatile_time(time, amplitude=0.6, frequency=5.0, phase=0.7)
    np.testing.assert_allclose(np.gradient(steady, time)[1:-1], factor[1:-1], atol=2e-4)
    assert (factor.min(), factor.max()) == pytest.approx((0.4, 1.6), abs=1e-4)
    np.testing.assert_allclose(np.interp([0.2, 0.4], time, steady), [0.2, 0.4], atol=1e-9)  # whole beats
    unchanged, ones = pulsatile_time(time, amplitude=0.0, frequency=5.0, phase=0.7)
    assert (unchanged == time).all()
    assert (ones == 1).all()


def test_with_a_heartbeat_velocities_are_still_those_of_the_positions() -> None:
    parameters = {
        "seed": 1,
        "name": "v",
        "side": 2e-4,
        "concentration_per_mm3": 2e4,
        "sequence": {
            "frames_per_block": 64,
            "frame_rate": 1000.0,
            "angles_deg": [0.0],
            "pulse_repetition_frequency": 1000.0,
        },
        "flow": {
            "wall_floor": 0.3,
            "profile_exponent": 2.0,
            "pulsatility": {"amplitude": 0.5, "frequency": 5.0},
        },
    }
    graph = two_ways()
    network = prepare_network(graph, solve_flow(graph), speed=speed_by_law(graph, HINGOT))
    bubbles = draw_bubbles(parameters, network, 0)
    velocity = np.linalg.norm(bubbles.velocity, axis=-1)[1:-1]
    moved = np.linalg.norm(bubbles.position[2:] - bubbles.position[:-2], axis=-1) * 500
    same = (bubbles.life[2:] == bubbles.life[:-2]) & (bubbles.vessel[2:] == bubbles.vessel[:-2])
    assert same.mean() > 0.8
    assert np.median(np.abs(moved[same] / velocity[same] - 1)) < 0.02
    mean = velocity.mean(axis=1)
    assert mean.max() > 1.5 * mean.min()


@pytest.mark.parametrize("wrong", [{"amplitude": 1.0}, {"frequency": 0.0}])
def test_a_heartbeat_out_of_range_is_refused(wrong) -> None:
    with pytest.raises(InputError, match="pulsatility"):
        pulsatile_time(np.zeros(1), **{"amplitude": 0.1, "frequency": 5.0, "phase": 0.0, **wrong})
