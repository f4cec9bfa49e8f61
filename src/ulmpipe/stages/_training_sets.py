"""Training blocks as the trainings read them, kept in memory while there is room."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ulmpipe.io.stores import read_block
from ulmpipe.network.devices import accelerator, precision_of
from ulmpipe.stages._parameters import Parameters

if TYPE_CHECKING:
    from torch import nn

# MB that a training takes itself; what is left of a job's memory keeps blocks between epochs
WITHOUT_BLOCKS = 2000


class Blocks:
    """An array read block by block, a damaged one refused in one line, and kept in memory while there is room.

    Targets are made of what is stored as they are read: tracks dilated, velocities in m/s.
    """

    def __init__(
        self,
        array: Any,
        memory: Memory,
        read: Callable[[NDArray[Any]], NDArray[Any]] = lambda stored: stored,
    ) -> None:
        self.array = array
        self.shape = array.shape
        self.memory = memory
        self.read = read
        self.kept: dict[int, NDArray[Any]] = {}

    def __getitem__(self, block: int) -> NDArray[Any]:
        if block in self.kept:
            return self.kept[block]
        content = self.read(read_block(self.array, block))
        if self.memory.take(content.nbytes):
            self.kept[block] = content
        return content


class Memory:
    """How many bytes may still be kept, in a job of so many MB; what does not fit is read again."""

    def __init__(self, memory_mb: int) -> None:
        self.left = max(0, memory_mb - WITHOUT_BLOCKS) * 1_000_000
        self.lock = Lock()  # blocks may be read by several threads

    def take(self, n_bytes: int) -> bool:
        """Claim some, if there are as many."""
        with self.lock:
            granted = n_bytes <= self.left
            self.left -= n_bytes * granted
        return granted


def in_its_precision(parameters: Parameters, network: nn.Module) -> Parameters:
    """Parameters with the precision that "auto" comes to here: what a network is trained in is part of what it is."""
    section = parameters["network"]
    precision = precision_of(network, section["precision"], accelerator())
    return {**parameters, "network": {**section, "precision": precision}}
