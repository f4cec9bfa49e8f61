"""`Light` with complex numbers: an answer that does not depend on the phase of the echoes, by construction.

What a network sees is complex, and its phase has no origin: a network may use how the phase of one pixel or frame
differs from that of another, but not the phase itself. `Light` has to learn that from examples; here complex
convolutions without bias and a non-linearity of the modulus alone carry a common phase through, until moduli
are taken and `Light` goes on with real numbers. Milecki et al. 2021 (DOI 10.1109/TMI.2021.3056951, section V)
name complex convolutions as the next step. The number of multiplications is that of `Light`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ulmpipe.network.light import Front, Light, fold_frames, mirror_to_multiple, over_image, over_time


class _ComplexConvolution(nn.Module):
    """Convolution of complex maps, held as real maps: the real parts of all channels, then the imaginary ones."""

    def __init__(
        self, n_in: int, n_out: int, size: tuple[int, int], *, stride: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = tuple(
            0 if step == length else length // 2 for step, length in zip(stride, size, strict=True)
        )
        scale = (2 * n_in * size[0] * size[1]) ** -0.5
        self.real, self.imaginary = (nn.Parameter(scale * torch.randn(n_out, n_in, *size)) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        weight = torch.cat(
            [torch.cat([self.real, -self.imaginary], dim=1), torch.cat([self.imaginary, self.real], dim=1)]
        )
        weight = weight.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(maps, weight, stride=self.stride, padding=self.padding)


def _squared_modulus(maps: Tensor) -> Tensor:
    real, imaginary = maps.square().chunk(2, dim=1)
    return real + imaginary


class _Normalize(nn.Module):
    """Divide every complex channel by its root mean square, as batch normalisation does without a mean."""

    def __init__(self, n_channels: int, *, gain: float = 1.0, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.gain = nn.Parameter(torch.full((n_channels,), gain))
        self.register_buffer("running_power", torch.ones(n_channels))
        self.running_power: Tensor

    def scale(self, squared_modulus: Tensor) -> Tensor:
        """Factor of every channel, (C, 1, 1), from the squared moduli of a batch, or of batches past."""
        if self.training:
            power = squared_modulus.mean(dim=(0, 2, 3), dtype=torch.float32)
            with torch.no_grad():
                self.running_power.lerp_(power, self.momentum)
        else:
            power = self.running_power
        return (self.gain * torch.rsqrt(power + 1e-5))[:, None, None]

    def forward(self, maps: Tensor) -> Tensor:
        scale = self.scale(_squared_modulus(maps)) if self.training else self.scale(maps)
        return maps * scale.repeat(2, 1, 1).to(maps.dtype)


class _Shorten(nn.Module):
    """Shorten every complex number by a learnt length, to zero if it is no longer; its phase stays.

    With `normalize` the channels are brought to one scale first.
    """

    def __init__(self, n_channels: int, *, normalize: bool) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.full((n_channels,), 0.3))
        self.norm = _Normalize(n_channels) if normalize else None

    def forward(self, maps: Tensor) -> Tensor:
        squared = _squared_modulus(maps)
        scale = 1.0 if self.norm is None else self.norm.scale(squared).to(maps.dtype)
        length = self.length[:, None, None].to(maps.dtype)
        kept = functional.relu(scale - length * torch.rsqrt(squared + 1e-4))
        return (maps.unflatten(1, (2, -1)) * kept.unsqueeze(1)).flatten(1, 2)


class _ComplexBlock(nn.Module):
    """Residual block: a convolution over the image, then one over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image = _ComplexConvolution(width, width, (3, 3))
        self.first = _Shorten(width, normalize=True)
        self.time = _ComplexConvolution(width, width, (3, 1))
        self.norm = _Normalize(width, gain=0.0)  # starts as the identity
        self.second = _Shorten(width, normalize=False)

    def forward(self, maps: Tensor, n_windows: int) -> Tensor:
        path = self.first(self.image(maps))
        path = over_image(self.time(over_time(path, n_windows)), maps.shape[2])
        return self.second(maps + self.norm(path))


class ComplexFront(Front):
    """The front in complex numbers, for as many multiplications as `RealFront`.

    Multiplying the maps by a unit phase does not change what comes out.

    Parameters
    ----------
    n_folded, stem_width, width, stride, n_blocks : int
        As in `RealFront`; a complex channel counts as two.

    """

    def __init__(
        self,
        *,
        n_folded: int = 16,
        stem_width: int = 32,
        width: int = 64,
        stride: int = 2,
        n_blocks: int = 1,
    ) -> None:
        super().__init__()
        self.n_folded = n_folded
        self.width = width
        self.time_stride = stride
        self.reach = 1 + n_blocks
        first, half = stem_width // 2, width // 2
        self.stem = nn.Sequential(
            _ComplexConvolution(n_folded, first, (3, 3)), _Shorten(first, normalize=True)
        )
        self.stride = _ComplexConvolution(first, half, (stride, 1), stride=(stride, 1))
        self.shorten = _Shorten(half, normalize=True)
        self.blocks = nn.ModuleList(_ComplexBlock(half) for _ in range(n_blocks))
        self.mix = _ComplexConvolution(half, width, (1, 1))
        self.mix_norm = nn.BatchNorm2d(width)

    def forward(self, correlation: Tensor) -> tuple[Tensor, int]:
        """(batch, 2, T, Z, X) to moduli (batch·windows, width, Z, X), and the number of windows."""
        maps, n_windows = fold_frames(correlation, self.n_folded)
        maps = self.stem(maps)
        maps, n_windows = mirror_to_multiple(maps, n_windows, self.time_stride)
        maps = over_image(self.stride(over_time(maps, n_windows)), correlation.shape[3])
        n_windows //= self.time_stride
        maps = self.shorten(maps)
        for block in self.blocks:
            maps = block(maps, n_windows)
        modulus = torch.sqrt(_squared_modulus(self.mix(maps)) + 1e-4)
        return self.mix_norm(modulus), n_windows


def complex_light() -> Light:
    """`Light` with a complex first half."""
    return Light(ComplexFront())
