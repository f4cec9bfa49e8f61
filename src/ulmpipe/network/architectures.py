"""The networks by name. A new one is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ulmpipe.errors import InputError
from ulmpipe.network.complex_valued import complex_light
from ulmpipe.network.light import Light, wide
from ulmpipe.network.paper import DeepSTULM

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "light": Light,
    "wide": wide,
    "complex": complex_light,
    "paper": DeepSTULM,
}


def build_network(name: str, *, seed: int) -> nn.Module:
    """Return an untrained network whose first weights depend on the seed alone.

    Raises
    ------
    InputError
        If there is no network of that name.

    """
    if name not in NETWORKS:
        raise InputError(f"network.name: '{name}'; expected one of {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]()
