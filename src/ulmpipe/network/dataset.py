"""Blocks for training: filtered images or correlation maps, and their tracks, with the changes that physics allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ulmpipe.errors import InputError
from ulmpipe.randomness import generator
from ulmpipe.targets import FRAMES_OF_A_PART, count_windows, reverse_windows

Scalar = TypeVar("Scalar", bound=np.generic)


class BlockSource(Protocol):
    """Anything that gives one block for one index: a numpy or a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of blocks first."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """One block."""
        ...


@dataclass(frozen=True)
class Change:
    """One change of a block, alike in all that belongs to it."""

    mirror_lateral: bool
    reverse_time: bool
    mirror_depth: bool
    phase: float  # rad

    def of_maps(self, maps: Tensor) -> Tensor:
        """Change (2, T, Z, X)."""
        flips = ((1, self.reverse_time), (3, self.mirror_lateral), (2, self.mirror_depth))
        axes = [axis for axis, wanted in flips if wanted]
        if axes:
            maps = maps.flip(axes)
        cosine, sine = np.cos(self.phase), np.sin(self.phase)
        matrix = np.array([[cosine, -sine], [sine, cosine]])
        if self.mirror_depth:
            matrix = matrix @ np.diag([1.0, -1.0])  # conjugate
        mixing = torch.from_numpy(matrix.astype(np.float32))
        return (mixing @ maps.reshape(2, -1)).reshape(maps.shape)

    def of_image(self, image: NDArray[Scalar]) -> NDArray[Scalar]:
        """Change (…, z, x), such as tracks."""
        return image[..., :: -1 if self.mirror_depth else 1, :: -1 if self.mirror_lateral else 1]

    def of_windows(self, windows: NDArray[np.uint8], n_parts: int) -> NDArray[np.uint8]:
        """Change (window, z, x) bytes whose bits are the parts of a block, see `ulmpipe.targets.windows_of_parts`."""
        windows = self.of_image(windows)
        if not self.reverse_time:
            return windows
        return reverse_windows(windows, n_parts)

    def of_velocity(self, velocity: NDArray[np.floating]) -> NDArray[np.floating]:
        """Change (2, z, x), components along z and x: what runs backwards has the opposite velocity."""
        back = -1 if self.reverse_time else 1
        signs = (back * (-1 if self.mirror_depth else 1), back * (-1 if self.mirror_lateral else 1))
        return self.of_image(velocity) * np.array(signs, velocity.dtype)[:, None, None]


@dataclass(frozen=True)
class Augmentation:
    """Which changes of a block give another block that could have been recorded; each is made half of the
    time.

    Attributes
    ----------
    rotate_phase : bool
        Multiply by a random unit phase: the phase of an echo has no origin.
    mirror_lateral : bool
        Mirror in x. With plane waves at angles of either sign this also swaps them within a frame, a third of
        a frame apart.
    reverse_time : bool
        Play backwards (the same remark).
    mirror_depth : bool
        Mirror in z and conjugate: the phase runs with depth. Exact only for a point spread function symmetric
        in depth.

    """

    rotate_phase: bool = True
    mirror_lateral: bool = True
    reverse_time: bool = True
    mirror_depth: bool = False

    def draw(self, rng: np.random.Generator) -> Change:
        """One change, of those that are wanted."""
        mirror_lateral, reverse_time, mirror_depth = (bool(drawn) for drawn in rng.random(3) < 0.5)
        phase = rng.uniform(0.0, 2.0 * np.pi)
        return Change(
            mirror_lateral=self.mirror_lateral and mirror_lateral,
            reverse_time=self.reverse_time and reverse_time,
            mirror_depth=self.mirror_depth and mirror_depth,
            phase=phase if self.rotate_phase else 0.0,
        )


class TrackDataset(Dataset[tuple[Tensor, Tensor]]):
    """Blocks of several sources one after the other, as (2, T, Z, X) float32 and (1, nz, nx) float32 of 0 and
    1; with `windows`, (1 + windows, nz, nx): the tracks, then those of each window of 128 frames.

    Parameters
    ----------
    maps : sequence of array-like
        Each (block, 2, T, Z, X) float16 or float32, read one block at a time.
    tracks : sequence of array-like
        Their targets, each (block, 8Z, 8X) bool.
    windows : sequence of array-like, optional
        When tracks were passed, each (block, window, 8Z, 8X) uint8, see `ulmpipe.targets.timed_track_map`.
    augmentation : Augmentation, optional
        None leaves the blocks as they are (validation).
    seed : int
        Of the augmentation. What a block looks like depends on (seed, phase, epoch, index) alone, so an
        interrupted training goes on with the blocks it would have seen.
    phase : str
        Name of the training phase.

    Raises
    ------
    InputError
        If sources and targets do not fit each other.

    """

    def __init__(
        self,
        maps: Sequence[BlockSource],
        tracks: Sequence[BlockSource],
        *,
        windows: Sequence[BlockSource] | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        phase: str = "",
    ) -> None:
        if len(maps) != len(tracks) or not maps:
            raise InputError(
                f"training set: {len(maps)} sources of maps, {len(tracks)} of tracks; "
                "expected as many, and at least one"
            )
        for number, (source, target) in enumerate(zip(maps, tracks, strict=True)):
            expected = (source.shape[0], 8 * source.shape[-2], 8 * source.shape[-1])
            if len(source.shape) != 5 or source.shape[1] != 2 or tuple(target.shape) != expected:
                raise InputError(
                    f"training set, source {number}: maps {tuple(source.shape)}, "
                    f"tracks {tuple(target.shape)}; expected (block, 2, T, Z, X) and (block, 8Z, 8X)"
                )
            if source.shape[1:] != maps[0].shape[1:]:
                raise InputError(
                    f"training set, source {number}: blocks {tuple(source.shape[1:])}; "
                    f"expected {tuple(maps[0].shape[1:])} like source 0"
                )
        if windows is not None:
            n_windows = count_windows(maps[0].shape[2])
            expected_of_all = [(each.shape[0], n_windows, *each.shape[1:]) for each in tracks]
            found = [tuple(each.shape) for each in windows]
            if found != expected_of_all:
                raise InputError(f"training set: windows {found}; expected {expected_of_all}, as the tracks")
        self.maps = list(maps)
        self.tracks = list(tracks)
        self.windows = None if windows is None else list(windows)
        self.augmentation = augmentation
        self.seed = seed
        self.phase = phase
        self.epoch = 0
        self._starts = np.concatenate([[0], np.cumsum([source.shape[0] for source in maps])])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def order(self) -> list[int]:
        """The shuffled indices of the current epoch."""
        rng = generator(self.seed, "order", self.phase, self.epoch)
        return [int(index) for index in rng.permutation(len(self))]

    def fullest(self) -> int:
        """Index of the block with the most track pixels, the first of several: one worth looking at."""
        sizes = [
            np.count_nonzero(source[block]) for source in self.tracks for block in range(source.shape[0])
        ]
        return int(np.argmax(sizes))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        source, block = self._place(index)
        maps = torch.from_numpy(np.asarray(self.maps[source][block])).float()
        tracks = np.asarray(self.tracks[source][block], dtype=bool)
        windows = None if self.windows is None else np.asarray(self.windows[source][block])
        change = self._change(index)
        if change is not None:
            maps, tracks = change.of_maps(maps), change.of_image(tracks)
            if windows is not None:
                windows = change.of_windows(windows, maps.shape[1] // FRAMES_OF_A_PART)
        targets = tracks[None] if windows is None else np.concatenate([tracks[None], windows != 0])
        return maps, torch.from_numpy(targets.astype(np.float32))

    def _place(self, index: int) -> tuple[int, int]:
        """Source of a block, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        source = int(np.searchsorted(self._starts, index, side="right")) - 1
        return source, index - int(self._starts[source])

    def _change(self, index: int) -> Change | None:
        if self.augmentation is None:
            return None
        return self.augmentation.draw(generator(self.seed, "augmentation", self.phase, self.epoch, index))


class VelocityDataset(TrackDataset):
    """Blocks with the velocities on their tracks: (2, T, Z, X) and (3, nz, nx) float32.

    The three are the components along z and x in m/s, 0 off the tracks, and 1 on the tracks.

    Parameters
    ----------
    maps, tracks, augmentation, seed, phase
        See `TrackDataset`.
    velocities : sequence of array-like
        Each (block, 2, 8Z, 8X), m/s.

    Raises
    ------
    InputError
        If sources and targets do not fit each other.

    """

    def __init__(
        self,
        maps: Sequence[BlockSource],
        tracks: Sequence[BlockSource],
        velocities: Sequence[BlockSource],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        phase: str = "",
    ) -> None:
        super().__init__(maps, tracks, augmentation=augmentation, seed=seed, phase=phase)
        expected = [(source.shape[0], 2, *source.shape[1:]) for source in tracks]
        found = [tuple(source.shape) for source in velocities]
        if found != expected:
            raise InputError(f"training set: velocities {found}; expected {expected}, as the tracks")
        self.velocities = list(velocities)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        maps, tracks = super().__getitem__(index)
        source, block = self._place(index)
        velocity = np.asarray(self.velocities[source][block], dtype=np.float32)
        change = self._change(index)
        if change is not None:
            velocity = change.of_velocity(velocity)
        return maps, torch.cat([torch.from_numpy(np.ascontiguousarray(velocity)), tracks])
