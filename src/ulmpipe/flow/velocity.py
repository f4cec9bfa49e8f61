"""How fast bubbles are on the axis of each vessel: by a law of the diameter, by a table, or by the solved flow.

The paper takes the law of Hingot et al. (Sci. Rep. 9, 2456, 2019), which makes capillaries slower than they are
measured to be; the other two are for whoever wants them as they are. All speeds belong to the native diameter
(`VesselGraph.dilation` taken out) and are used as they are in a dilated graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.flow.haemodynamics import Flow, edge_radius
from ulmpipe.vessels.graph import VesselGraph


@dataclass(frozen=True)
class VelocityLaw:
    """Centreline speed against native vessel diameter: v[mm/s] = exp(intercept + exponent·ln d[µm]).

    Attributes
    ----------
    exponent, intercept : float
        Of the regression in mm/s and µm (Hingot et al., Sci. Rep. 9, 2456, 2019: 1.9 and −6).
    minimum : float
        Least centreline speed in m/s (0: the bare law).
    """

    exponent: float
    intercept: float
    minimum: float = 0.0


def centreline_speed(velocity_law: VelocityLaw, native_diameter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Speed on the axis of a vessel in m/s.

    Parameters
    ----------
    velocity_law : VelocityLaw
        Regression to use.
    native_diameter : (…) float64
        Diameter in m as it was in the animal, that is, before any dilation of the graph.

    Returns
    -------
    (…) float64
    """
    law = np.exp(velocity_law.intercept + velocity_law.exponent * np.log(native_diameter / 1e-6)) * 1e-3
    return np.asarray(np.maximum(law, velocity_law.minimum))


def speed_by_law(graph: VesselGraph, velocity_law: VelocityLaw) -> NDArray[np.float64]:
    """Centreline speed of every edge, (E,) m/s, by the law."""
    return centreline_speed(velocity_law, 2 * edge_radius(graph) / graph.dilation)


def speed_by_table(graph: VesselGraph, table: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Centreline speed of every edge, (E,) m/s, interpolated in a table of native diameters and speeds.

    Parameters
    ----------
    table : sequence of (diameter, speed)
        m and m/s, diameters rising. Between them the logarithms are interpolated, beyond them the ends hold.

    Raises
    ------
    InputError
        Not pairs, diameters that do not rise, or a number that is not positive.
    """
    pairs = np.array(table, dtype=np.float64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not (np.isfinite(pairs).all() and (pairs > 0).all()):
        raise InputError(
            f"velocity table: {table!r}, expected pairs of diameter (m) and speed (m/s), all above 0"
        )
    if not (np.diff(pairs[:, 0]) > 0).all():
        raise InputError(f"velocity table: diameters {pairs[:, 0].tolist()}, expected rising ones")
    diameter, speed = np.log(pairs).T
    return np.exp(np.interp(np.log(2 * edge_radius(graph) / graph.dilation), diameter, speed))


def speed_by_flow(
    graph: VesselGraph, flow: Flow, *, perfusion: float, tissue_volume: float, profile_exponent: float
) -> NDArray[np.float64]:
    """Centreline speed of every edge, (E,) m/s, of the solved flow scaled to a perfusion.

    All blood that enters is `perfusion · tissue_volume`; the centre of a profile 1 − (r/R)ⁿ moves at (n + 2)/n times
    the mean speed, flow over cross-section.

    Parameters
    ----------
    graph : VesselGraph
    flow : Flow
        From `solve_flow` of the same graph.
    perfusion : float
        Blood volume per tissue volume and time, 1/s (100 ml per 100 ml and minute are 1/60 s⁻¹).
    tissue_volume : float
        That the graph supplies, m³, at its native scale.
    profile_exponent : float
        n; 2 is a parabola.

    Raises
    ------
    InputError
        A number that is not positive.
    """
    for name, value in (
        ("perfusion", perfusion),
        ("tissue volume", tissue_volume),
        ("profile exponent", profile_exponent),
    ):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}, expected a positive number")
    entering = flow.boundary_flow[flow.inlets].sum()
    scaled = np.abs(flow.edge_flow) / entering * perfusion * tissue_volume
    of_centre = (profile_exponent + 2) / profile_exponent
    return np.asarray(of_centre * scaled / (np.pi * (edge_radius(graph) / graph.dilation) ** 2))


def pulsatile_time(
    time: NDArray[np.float64], *, amplitude: float, frequency: float, phase: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heartbeat: when a steady flow has carried as far, and how much faster than it the blood is.

    All speeds have the common factor 1 + amplitude · sin(2π frequency t + phase), so that at time t bubbles are where
    they would be in steady flow at the integral of that factor: time is bent, and paths are not.

    Parameters
    ----------
    time : (event,) float64
        s.
    amplitude : float
        Of the factor, from 0 (steady) to less than 1 (blood never stops).
    frequency : float
        Hz.
    phase : float
        rad.

    Returns
    -------
    steady_time : (event,) float64
        s, rising; equal to `time` at t = 0.
    factor : (event,) float64
        Of the speed.

    Raises
    ------
    InputError
        An amplitude or a frequency out of its range.
    """
    if not 0 <= amplitude < 1:
        raise InputError(f"pulsatility amplitude: {amplitude}, expected 0 to less than 1")
    if not (np.isfinite(frequency) and frequency > 0):
        raise InputError(f"pulsatility frequency: {frequency}, expected hertz above 0")
    angular = 2 * np.pi * frequency
    steady_time = time + amplitude / angular * (np.cos(phase) - np.cos(angular * time + phase))
    return steady_time, 1 + amplitude * np.sin(angular * time + phase)
