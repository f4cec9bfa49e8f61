"""Weights of a trained network, for maps such as it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulmpipe.errors import InputError
from ulmpipe.stages._parameters import Parameters

if TYPE_CHECKING:
    from torch import nn


def load_trained(network: nn.Module, path: Path, parameters: Parameters) -> None:
    """Read weights into a network; refuse those that were trained on other maps than it is to see.

    Filtered images and correlation maps have the same shape, so nothing else would notice.
    """
    from ulmpipe.network.inference import load_weights

    made: Any = load_weights(network, path).get("parameters", {})
    if "network" not in made:
        return
    trained_on = made["network"].get("input", "correlation")  # as all were before there was a choice
    if trained_on != (wanted := parameters["network"]["input"]):
        raise InputError(f"{path}: trained with network.input: {trained_on}; expected {wanted}")
