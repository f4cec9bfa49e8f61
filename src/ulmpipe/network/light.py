"""A network for processors without an accelerator: what the paper's does, in a fortieth of its time.

What costs time on a CPU is moving feature maps, not multiplying them. So the frames of 16 milliseconds are
folded into channels first; convolutions are two-dimensional over the image or one-dimensional over time, both
on the same channels-last memory (a change of view, no copy); time is given away early by strided
convolutions; what looks far, in time and over the image, and the sub-pixel convolutions that enlarge the image
work where few time windows are left; residual blocks have one activation and no normalisation, which Muon's steps make
needless (two are left: without them it learns much less); the tracks of the windows are joined as a union; and fine
pixels are refined as channels of the coarser ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CELL = 4  # fine pixels on a side of half a pixel
CELLS = CELL * CELL


def fold_frames(correlation: Tensor, n_folded: int) -> tuple[Tensor, int]:
    """(batch, 2, T, Z, X) to channels-last (batch·T/n, 2n, Z, X) of n folded frames, and T/n.

    The channels are the real parts of the n frames, then their imaginary parts.
    """
    batch, _, n_frames, height, width = correlation.shape
    n_windows = n_frames // n_folded
    folded = correlation.reshape(batch, 2, n_windows, n_folded, height, width).permute(0, 2, 4, 5, 1, 3)
    folded = folded.reshape(batch * n_windows, height, width, 2 * n_folded)
    return folded.permute(0, 3, 1, 2), n_windows


def over_time(maps: Tensor, n_windows: int) -> Tensor:
    """View (batch·T, C, Z, X) as (batch, C, T, Z·X), in the same channels-last memory."""
    n, channels, height, width = maps.shape
    return (
        maps.permute(0, 2, 3, 1)
        .reshape(n // n_windows, n_windows, height * width, channels)
        .permute(0, 3, 1, 2)
    )


def over_image(maps: Tensor, height: int) -> Tensor:
    """Undo `over_time`."""
    batch, channels, n_windows, n_pixels = maps.shape
    image = maps.permute(0, 2, 3, 1).reshape(batch * n_windows, height, n_pixels // height, channels)
    return image.permute(0, 3, 1, 2)


def enlarge(maps: Tensor, factor: int) -> Tensor:
    """Sub-pixel shuffle: (n, C·factor², Z, X) to (n, C, factor·Z, factor·X).

    The channels are ordered (row, column, C), unlike `torch.nn.functional.pixel_shuffle`, so that whole runs
    of memory move.
    """
    n, channels, height, width = maps.shape
    channels //= factor * factor
    cells = (
        maps.permute(0, 2, 3, 1).reshape(n, height, width, factor, factor, channels).permute(0, 1, 3, 2, 4, 5)
    )
    return cells.reshape(n, height * factor, width * factor, channels).permute(0, 3, 1, 2)


def mirror_to_multiple(maps: Tensor, n_windows: int, multiple: int) -> tuple[Tensor, int]:
    """Continue (batch·T, C, Z, X) in time by its mirror image up to a multiple: bubbles retrace their way."""
    wanted = -(-n_windows // multiple) * multiple
    if wanted == n_windows:
        return maps, n_windows
    index = torch.arange(wanted, device=maps.device) % (2 * n_windows)
    index = torch.minimum(index, 2 * n_windows - 1 - index)
    n, channels, height, width = maps.shape
    windows = maps.permute(0, 2, 3, 1).reshape(n // n_windows, n_windows, height, width, channels)
    windows = windows.index_select(1, index).reshape(-1, height, width, channels)
    return windows.permute(0, 3, 1, 2), wanted


def _image_convolution(n_in: int, n_out: int) -> nn.Conv2d:
    """Convolution 3² whose output has the scale of its input after a ReLU: no normalisation is needed behind
    it.
    """
    convolution = nn.Conv2d(n_in, n_out, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution


class _TimeStride(nn.Module):
    """Join `stride` time windows into one: a strided convolution over time, batch normalisation if wanted, ReLU."""

    def __init__(self, n_in: int, n_out: int, stride: int, *, normalized: bool) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(n_in, n_out, (stride, 1), stride=(stride, 1), bias=not normalized)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(n_out) if normalized else nn.Identity()

    def forward(self, maps: Tensor, n_windows: int) -> tuple[Tensor, int]:
        height = maps.shape[2]
        maps, n_windows = mirror_to_multiple(maps, n_windows, self.stride)
        maps = over_image(self.convolution(over_time(maps, n_windows)), height)
        return functional.relu(self.norm(maps), inplace=True), n_windows // self.stride


class _Block(nn.Module):
    """Residual block: a convolution over the image, ReLU, one over time; if `rectified`, ReLU of the sum too."""

    def __init__(self, width: int, *, rectified: bool) -> None:
        super().__init__()
        self.rectified = rectified
        self.image = _image_convolution(width, width)
        self.time = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        for zero in self.time.parameters():  # starts as the identity
            nn.init.zeros_(zero)

    def forward(self, maps: Tensor, n_windows: int) -> Tensor:
        path = functional.relu(self.image(maps), inplace=True)
        maps = maps + over_image(self.time(over_time(path, n_windows)), maps.shape[2])
        return functional.relu(maps, inplace=True) if self.rectified else maps


class Front(nn.Module):
    """First half of `Light`: frames to feature maps of fewer time windows, at the pixels of the input.

    Called with (batch, 2, T, Z, X) it returns (batch·windows, width, Z, X) and the number of windows.

    Attributes
    ----------
    width : int
        Channels that come out.
    reach : int
        Of its convolutions over the image, in pixels.

    """

    width: int
    reach: int


class RealFront(Front):
    """The front with real convolutions.

    Parameters
    ----------
    n_folded : int
        Frames folded into channels at the input, a divisor of 16.
    stem_width, width : int
        Channels before and after time is first given away.
    stride : int
        How many time windows are joined.
    n_blocks : int
        Residual blocks.
    rectified : bool
        Whether a block ends with a ReLU.

    """

    def __init__(
        self,
        *,
        n_folded: int = 16,
        stem_width: int = 32,
        width: int = 64,
        stride: int = 2,
        n_blocks: int = 1,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        self.n_folded = n_folded
        self.width = width
        self.reach = 1 + n_blocks
        self.stem = _image_convolution(2 * n_folded, stem_width)
        self.stride = _TimeStride(stem_width, width, stride, normalized=True)
        self.blocks = nn.ModuleList(_Block(width, rectified=rectified) for _ in range(n_blocks))

    def forward(self, correlation: Tensor) -> tuple[Tensor, int]:
        """(batch, 2, T, Z, X) to (batch·windows, width, Z, X), and the number of windows."""
        maps, n_windows = fold_frames(correlation, self.n_folded)
        maps = functional.relu(self.stem(maps), inplace=True)
        maps, n_windows = self.stride(maps, n_windows)
        for block in self.blocks:
            maps = block(maps, n_windows)
        return maps, n_windows


class Light(nn.Module):
    """Network for CPUs: (batch, 2, T, Z, X) maps to (batch, 1, 8Z, 8X) logits of the tracks.

    Parameters
    ----------
    front : Front, optional
        First half, `RealFront()` by default.
    stride : int
        How many of its time windows are joined.
    n_blocks : int
        Residual blocks on the joined windows: they see the whole of a block of 512 frames, and cost little.
    fine_width : int
        Channels where pixels are half of the input's.
    refine_width : int
        Channels between the two convolutions that refine the joined tracks, at half pixels too.
    rectified : bool
        Whether these blocks end with a ReLU.

    Notes
    -----
    T must be a multiple of 16; a number of windows that a stride does not divide is continued by its mirror
    image in time. `halo` pixels around a tile make its output exact (see `ulmpipe.network.infer_field`).

    """

    tells_windows = True  # `forward` can say what was passed in each

    def __init__(
        self,
        front: Front | None = None,
        *,
        stride: int = 4,
        n_blocks: int = 3,
        fine_width: int = 32,
        refine_width: int = 64,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        front = RealFront() if front is None else front
        self.front = front
        width = front.width
        reach = front.reach + n_blocks + 3  # the convolutions after the blocks reach 1 + 4 · ½ pixels
        self.halo = 4 * -(-reach // 4)
        self.stride = _TimeStride(width, width, stride, normalized=False)
        self.blocks = nn.ModuleList(_Block(width, rectified=rectified) for _ in range(n_blocks))
        self.enlarge = nn.Conv2d(width, 4 * fine_width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.enlarge.weight, nonlinearity="relu")
        self.enlarge_norm = nn.BatchNorm2d(fine_width)
        self.fine = _image_convolution(fine_width, fine_width)
        self.window_logits = nn.Conv2d(fine_width, CELLS, 3, padding=1)
        self.refine = nn.Sequential(
            nn.Conv2d(2 * CELLS, refine_width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(refine_width, CELLS, 3, padding=1),
        )
        nn.init.constant_(self.window_logits.bias, -6.0)  # type: ignore[arg-type]  # few pixels are tracks

    def forward(self, correlation: Tensor, *, windows: bool = False) -> Tensor:
        """Logits of a batch.

        Parameters
        ----------
        correlation : Tensor
            (batch, 2, T, Z, X), real and imaginary part.
        windows : bool
            Whether those of the windows of 128 frames are wanted too, not joined yet: what a training looks at.

        Returns
        -------
        Tensor
            (batch, 1, 8Z, 8X); with windows (batch, 1 + T/128, 8Z, 8X), rounded up.

        """
        maps, n_windows = self.features(correlation)
        window_logits = self.window_logits(maps)
        joined = self._join(window_logits, n_windows)
        if not windows:
            return joined
        apart = enlarge(window_logits.float(), CELL)
        return torch.cat([joined, apart.reshape(-1, n_windows, *apart.shape[2:])], dim=1)

    def features(self, correlation: Tensor) -> tuple[Tensor, int]:
        """What the windows' logits are made of: (batch·windows, fine_width, 2Z, 2X), and the number of windows."""
        maps, n_windows = self.front(correlation)
        maps, n_windows = self.stride(maps, n_windows)
        for block in self.blocks:
            maps = block(maps, n_windows)
        maps = functional.relu(self.enlarge_norm(enlarge(self.enlarge(maps), 2)), inplace=True)
        return functional.relu(self.fine(maps), inplace=True), n_windows

    def _join(self, window_logits: Tensor, n_windows: int) -> Tensor:
        """The union over time of the windows' tracks (log-sum-exp of the logits), refined; (batch, 1, 8Z, 8X)."""
        n, _, height, width = window_logits.shape
        logits = (
            window_logits.float().permute(0, 2, 3, 1).reshape(n // n_windows, n_windows, height, width, CELLS)
        )
        union, mean = (
            joined.permute(0, 3, 1, 2) for joined in (torch.logsumexp(logits, dim=1), logits.mean(dim=1))
        )
        return enlarge(union + self.refine(torch.cat([union, mean], dim=1)).float(), CELL)


def wide() -> Light:
    """`Light` with finer time, one more early block, twice the channels at half pixels: twice the time."""
    front = RealFront(n_folded=8, stride=4, n_blocks=2, rectified=True)
    return Light(front, fine_width=64, refine_width=256, rectified=True)
