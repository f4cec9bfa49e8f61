"""The network of the paper: a V-Net-like 3-D convolutional network that gives time away and gains resolution.

Source: L. Milecki et al., "A Deep Learning Framework for Spatiotemporal Ultrasound Localization Microscopy",
IEEE TMI 40(5), 2021, doi:10.1109/TMI.2021.3056951; stage sizes after the network its authors published.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_FRAMES_FOLDED = 16  # all of them, into channels
GROUP = 4  # frames folded together where there are more, and few channels
FEW_CHANNELS = 2


def _time_last(correlation: Tensor) -> Tensor:
    """(batch, C, T, Z, X) to (batch, C, Z, X, T), which every layer takes; in memory the frames of a pixel together."""
    return correlation.permute(0, 1, 3, 4, 2).contiguous(memory_format=torch.channels_last_3d)


def _folding_pays(maps: Tensor) -> bool:
    """Whether units for matrix products, which want many channels, are at work: not on a processor."""
    return maps.is_cuda


class _Convolution(nn.Sequential):
    """Convolution over z, x and time of maps (batch, C, Z, X, T), and batch normalisation."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        convolution = nn.Conv3d(n_in, n_out, kernel, padding=kernel // 2)
        assert convolution.bias is not None
        convolution.bias.requires_grad_(False)  # the normalisation takes it away again: its gradient is zero
        super().__init__(convolution, nn.BatchNorm3d(n_out))

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, C, Z, X, T) to (batch, C', Z, X, T)."""
        convolution, normalisation = self
        assert isinstance(convolution, nn.Conv3d)
        assert convolution.bias is not None
        weight, bias = convolution.weight, convolution.bias  # (C', C, frame, z, x)
        folds = weight.shape[2] > 1 and _folding_pays(maps)
        if folds and maps.shape[-1] <= MOST_FRAMES_FOLDED:
            convolved = _convolve_frames(maps, weight, bias)
        elif folds and maps.shape[1] <= FEW_CHANNELS:
            convolved = _convolve_groups(maps, weight, bias)
        else:
            reach = weight.shape[2] // 2
            convolved = functional.conv3d(maps, weight.permute(0, 1, 3, 4, 2), bias, padding=reach)
        normalised: Tensor = normalisation(convolved)
        return normalised


def _convolve_frames(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution whose frames are folded into channels, so that two dimensions are left.

    Most of its weights are zero, yet it is several times faster where `_folding_pays`.
    """
    n, _, height, width, n_frames = maps.shape
    folded = maps.permute(0, 2, 3, 4, 1).reshape(n, height, width, -1).permute(0, 3, 1, 2)
    reach = weight.shape[2] // 2
    folded_weight = _fold_weight(weight, n_frames, n_frames, first=-reach)
    convolved = functional.conv2d(folded, folded_weight, bias.repeat(n_frames), padding=reach)
    return convolved.permute(0, 2, 3, 1).reshape(n, height, width, n_frames, -1).permute(0, 4, 1, 2, 3)


def _convolve_groups(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of groups of frames that are folded into channels, with those frames around them that it needs."""
    n, _, height, width, n_frames = maps.shape
    reach = weight.shape[2] // 2
    padded = functional.pad(maps.permute(0, 2, 3, 4, 1), (0, 0, reach, reach))
    groups = padded.unfold(3, GROUP + 2 * reach, GROUP).transpose(4, 5)  # (batch, Z, X, group, frame, C)
    folded = groups.flatten(4).permute(0, 4, 1, 2, 3)
    folded_weight = _fold_weight(weight, GROUP, GROUP + 2 * reach, first=0)[..., None]
    convolved = functional.conv3d(folded, folded_weight, bias.repeat(GROUP), padding=(reach, reach, 0))
    return convolved.permute(0, 2, 3, 4, 1).reshape(n, height, width, n_frames, -1).permute(0, 4, 1, 2, 3)


def _fold_weight(weight: Tensor, n_frames_out: int, n_frames_in: int, *, first: int) -> Tensor:
    """(out, in, frame, z, x) to (frame · out, frame · in, z, x), the first output from input frames `first` on."""
    n_out, n_in, n_taps, *sides = weight.shape
    frame_out, frame_in, tap = (
        torch.arange(n, device=weight.device) for n in (n_frames_out, n_frames_in, n_taps)
    )
    is_there = frame_in[:, None] == frame_out[:, None, None] + first + tap  # (frame out, frame in, tap)
    taps = weight.permute(2, 0, 1, 3, 4).flatten(1)
    folded = is_there.to(weight.dtype).flatten(0, 1) @ taps
    folded = folded.reshape(n_frames_out, n_frames_in, n_out, n_in, *sides).transpose(1, 2)
    return folded.reshape(n_frames_out * n_out, n_frames_in * n_in, *sides)


def _pool_time(maps: Tensor, factor: int) -> Tensor:
    """Maximum of every `factor` frames; a last, shorter group is kept, so that no frame is ever dropped."""
    return functional.max_pool3d(maps, (1, 1, min(factor, maps.shape[-1])), ceil_mode=True)


def _upsample(maps: Tensor) -> Tensor:
    """Nearest neighbour ×2 in z and x: what makes a "resize convolution" free of checkerboards."""
    n, n_channels, height, width, n_frames = maps.shape
    pixels = maps.permute(0, 2, 3, 4, 1)[:, :, None, :, None]
    pixels = pixels.expand(-1, -1, 2, -1, 2, -1, -1).reshape(n, 2 * height, 2 * width, n_frames, n_channels)
    return pixels.permute(0, 4, 1, 2, 3)


class _Residual(nn.Module):
    """``n`` convolutions 3³ with batch normalisation; their input is added before the last activation."""

    def __init__(self, n_channels: int, n_convolutions: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            _Convolution(n_channels, n_channels, 3) for _ in range(n_convolutions)
        )

    def forward(self, maps: Tensor) -> Tensor:
        path = maps
        for convolution in self.convolutions[:-1]:
            path = functional.elu(convolution(path))
        return functional.elu(self.convolutions[-1](path) + maps)


class _Input(nn.Module):
    """Convolution 5³, the two input channels repeated added to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = _Convolution(2, width, 5)
        self.n_repeats = width // 2

    def forward(self, correlation: Tensor) -> Tensor:
        return functional.elu(self.convolution(correlation) + correlation.repeat(1, self.n_repeats, 1, 1, 1))


class _Down(nn.Module):
    """Twice the channels at a quarter of the frames and half the pixels of each side."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.widen = _Convolution(n_in, 2 * n_in, 1)
        self.residual = _Residual(2 * n_in, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return self.residual(functional.elu(functional.max_pool3d(self.widen(maps), (2, 2, 4))))


class _Up(nn.Module):
    """Twice the pixels of each side; time is not rebuilt, the skip connection is max-pooled to it instead."""

    def __init__(self, n_in: int, n_skip: int) -> None:
        super().__init__()
        self.reduce = _Convolution(n_in, n_skip, 3)
        self.residual = _Residual(2 * n_skip, 3)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        maps = functional.elu(self.reduce(_upsample(maps)))
        return self.residual(torch.cat([maps, _pool_time(skip, skip.shape[-1] // maps.shape[-1])], dim=1))


class _Transition(nn.Module):
    """Fewer channels, a quarter of the frames."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.reduce = _Convolution(n_in, n_out, 1)
        self.residual = _Residual(n_out, 2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.residual(functional.elu(_pool_time(self.reduce(maps), 4)))


class _Resize(nn.Module):
    """Resize convolution: twice the pixels of each side."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.smooth = _Convolution(n_channels, n_channels, 3)
        self.residual = _Residual(n_channels, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return self.residual(functional.elu(self.smooth(_upsample(maps))))


class _Output(nn.Module):
    """What is left of time is pooled; then the logit in two dimensions."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        half = n_in // 2
        self.reduce = _Convolution(n_in, half, 3)
        self.plane = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (nn.Conv2d(half, half, 3, padding=1), nn.BatchNorm2d(half), nn.ELU())
            ),
            nn.Conv2d(half, 1, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        # not amax: compiled, it looks for a bfloat16 maximum among float32 values, and its gradient is one over none
        return self.plane(functional.elu(self.reduce(maps)).max(dim=-1).values)


class DeepSTULM(nn.Module):
    """The paper's network: (batch, 2, T, Z, X) correlation maps to (batch, 1, 8Z, 8X) logits of the tracks.

    Parameters
    ----------
    width : int
        Channels of the first stage, even; the paper's 16 gives its 1 038 065 parameters.

    Notes
    -----
    T must be a multiple of 16, Z and X of 4. The paper's 512 frames end as 2 and are pooled to one; of any
    other number what is left is pooled in the same place.

    """

    halo = 48  # reach of the network to each side, in pixels, rounded up to the grid of its coarsest maps

    def __init__(self, *, width: int = 16) -> None:
        super().__init__()
        self.input = _Input(width)
        self.down_1 = _Down(width)
        self.down_2 = _Down(2 * width)
        self.up_1 = _Up(4 * width, 2 * width)
        self.up_2 = _Up(4 * width, width)
        self.transition_1 = _Transition(2 * width, width)
        self.resize = nn.ModuleList(_Resize(width) for _ in range(3))
        self.transition_2 = _Transition(width, width)
        self.output = _Output(width)

    def forward(self, correlation: Tensor) -> Tensor:
        """Logits of a batch.

        Parameters
        ----------
        correlation : Tensor
            (batch, 2, T, Z, X), real and imaginary part.

        Returns
        -------
        Tensor
            (batch, 1, 8Z, 8X).

        """
        first = self.input(_time_last(correlation))
        second = self.down_1(first)
        maps = self.up_1(self.down_2(second), second)
        del second
        maps = self.transition_1(self.up_2(maps, first))
        del first  # the largest map: 16 channels at every frame
        for resize in self.resize:
            maps = resize(maps)
        return self.output(self.transition_2(maps))
