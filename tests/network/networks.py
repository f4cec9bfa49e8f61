"""Networks for tests, as if they had been trained."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def awake(network: Network) -> Network:
    """The network with residual blocks that do something: they start as the identity."""
    for name, parameter in network.named_parameters():
        if name.endswith("norm.gain"):
            torch.nn.init.ones_(parameter)
        if name.endswith("time.weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()
