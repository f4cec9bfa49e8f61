"""The network of the paper: a V-Net-like 3-D convolutional network that gives time away and gains resolution.

Source: L. Milecki et al., "A Deep Learning Framework for Spatiotemporal Ultrasound Localization Microscopy",
IEEE TMI 40(5), 2021, doi:10.1109/TMI.2021.3056951; stage sizes after the network its authors published.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional


def _pool_time(maps: Tensor, factor: int) -> Tensor:
    """Maximum of every `factor` frames; a last, shorter group is kept, so that no frame is ever dropped."""
    factor = min(factor, maps.shape[2])
    return functional.max_pool3d(maps, (factor, 1, 1), ceil_mode=True)


def _upsample(maps: Tensor) -> Tensor:
    """Nearest neighbour ×2 in z and x: what makes a "resize convolution" free of checkerboards."""
    return functional.interpolate(maps, scale_factor=(1, 2, 2), mode="nearest")


def _convolution(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(n_in, n_out, kernel, padding=kernel // 2), nn.BatchNorm3d(n_out))


class _Residual(nn.Module):
    """``n`` convolutions 3³ with batch normalisation; their input is added before the last activation."""

    def __init__(self, n_channels: int, n_convolutions: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            _convolution(n_channels, n_channels, 3) for _ in range(n_convolutions)
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
        self.convolution = _convolution(2, width, 5)
        self.n_repeats = width // 2

    def forward(self, correlation: Tensor) -> Tensor:
        return functional.elu(self.convolution(correlation) + correlation.repeat(1, self.n_repeats, 1, 1, 1))


class _Down(nn.Module):
    """Twice the channels at a quarter of the frames and half the pixels of each side."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.widen = _convolution(n_in, 2 * n_in, 1)
        self.residual = _Residual(2 * n_in, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return self.residual(functional.max_pool3d(functional.elu(self.widen(maps)), (4, 2, 2)))


class _Up(nn.Module):
    """Twice the pixels of each side; time is not rebuilt, the skip connection is max-pooled to it instead."""

    def __init__(self, n_in: int, n_skip: int) -> None:
        super().__init__()
        self.reduce = _convolution(n_in, n_skip, 3)
        self.residual = _Residual(2 * n_skip, 3)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        maps = functional.elu(self.reduce(_upsample(maps)))
        return self.residual(torch.cat([maps, _pool_time(skip, skip.shape[2] // maps.shape[2])], dim=1))


class _Transition(nn.Module):
    """Fewer channels, a quarter of the frames."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.reduce = _convolution(n_in, n_out, 1)
        self.residual = _Residual(n_out, 2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.residual(_pool_time(functional.elu(self.reduce(maps)), 4))


class _Resize(nn.Module):
    """Resize convolution: twice the pixels of each side."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.smooth = _convolution(n_channels, n_channels, 3)
        self.residual = _Residual(n_channels, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return self.residual(functional.elu(self.smooth(_upsample(maps))))


class _Output(nn.Module):
    """What is left of time is pooled; then the logit in two dimensions."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        half = n_in // 2
        self.reduce = _convolution(n_in, half, 3)
        self.plane = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (nn.Conv2d(half, half, 3, padding=1), nn.BatchNorm2d(half), nn.ELU())
            ),
            nn.Conv2d(half, 1, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return self.plane(functional.elu(self.reduce(maps)).amax(dim=2))


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

    def stages(self, correlation: Tensor) -> OrderedDict[str, Tensor]:
        """Run the network and return the output of every stage by name, the logits last (``"output"``)."""
        maps: OrderedDict[str, Tensor] = OrderedDict()
        maps["input"] = self.input(correlation)
        maps["down_1"] = self.down_1(maps["input"])
        maps["down_2"] = self.down_2(maps["down_1"])
        maps["up_1"] = self.up_1(maps["down_2"], maps["down_1"])
        maps["up_2"] = self.up_2(maps["up_1"], maps["input"])
        last = maps["transition_1"] = self.transition_1(maps["up_2"])
        for number, resize in enumerate(self.resize, start=1):
            last = maps[f"resize_{number}"] = resize(last)
        maps["transition_2"] = self.transition_2(last)
        maps["output"] = self.output(maps["transition_2"])
        return maps

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
        first = self.input(correlation.contiguous(memory_format=torch.channels_last_3d))
        second = self.down_1(first)
        maps = self.up_1(self.down_2(second), second)
        del second
        maps = self.transition_1(self.up_2(maps, first))
        del first  # the largest map: 16 channels at every frame
        for resize in self.resize:
            maps = resize(maps)
        return self.output(self.transition_2(maps))
