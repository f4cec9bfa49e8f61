"""Blood flow in vessel graphs and the microbubbles it carries."""

from ulmpipe.flow.bubbles import BubbleNetwork, Bubbles, prepare_network, simulate_bubbles
from ulmpipe.flow.haemodynamics import Flow, relative_viscosity, solve_flow
from ulmpipe.flow.velocity import VelocityLaw, pulsatile_time, speed_by_flow, speed_by_law, speed_by_table

__all__ = [
    "BubbleNetwork",
    "Bubbles",
    "Flow",
    "VelocityLaw",
    "prepare_network",
    "pulsatile_time",
    "relative_viscosity",
    "simulate_bubbles",
    "solve_flow",
    "speed_by_flow",
    "speed_by_law",
    "speed_by_table",
]
