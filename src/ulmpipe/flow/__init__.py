"""Blood flow in vessel graphs and the microbubbles it carries."""

from ulmpipe.flow.bubbles import BubbleNetwork, Bubbles, VelocityLaw, prepare_network, simulate_bubbles
from ulmpipe.flow.haemodynamics import Flow, solve_flow

__all__ = [
    "BubbleNetwork",
    "Bubbles",
    "Flow",
    "VelocityLaw",
    "prepare_network",
    "simulate_bubbles",
    "solve_flow",
]
