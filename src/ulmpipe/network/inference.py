"""Track probabilities over a field of any size, and the weights of a network on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ulmpipe.errors import InputError
from ulmpipe.network.devices import PRECISIONS, precision_of

UPSAMPLING = 8
_FRAMES = 16  # T must be a multiple of this, Z and X of _PIXELS
_PIXELS = 4
SHORT = 4  # a block of which so many fit into a training block
_METADATA_KEY = "ulmpipe"


def infer_field(
    network: nn.Module,
    correlation: NDArray[np.floating],
    *,
    precision: str = "auto",
    tile: int | None = None,
    trained_frames: int = 0,
) -> NDArray[np.float32]:
    """Probability that a bubble passed each fine pixel, the whole field at once.

    Parameters
    ----------
    network : nn.Module
        Trained network.
    correlation : ndarray
        (2, T, Z, X) of any kind of float, real and imaginary part, of any T, Z and X: a number of frames that is no
        multiple of 16 is continued by the mirror image in time, the field by zeros.
    precision : str
        "auto" (see `ulmpipe.network.devices.precision_of`), "bfloat16" or "float32".
    tile : int, optional
        Largest side, in pixels, of the pieces the field is cut into where memory is short; None is one piece.
        Every piece is computed with `network.halo` pixels around it, the reach of the network, so the result
        does not change.
    trained_frames : int
        Of the blocks the network was trained with; see `lengthened`.

    Returns
    -------
    ndarray
        (8Z, 8X) float32 between 0 and 1.

    Raises
    ------
    InputError
        If the shape is not (2, T, Z, X), or the network does not know its reach and tiles are asked for.

    """
    output = output_over_field(
        network, correlation, precision=precision, tile=tile, trained_frames=trained_frames
    )
    return output[0].sigmoid().numpy()


def times_shown(n_frames: int, trained_frames: int) -> int:
    """How often a network is shown a block: once, or the four times and more that it fits into one of its training.

    What has learnt from four windows of 128 frames sees tracks all around a bubble in a block of one (docs/results.md).
    """
    times = trained_frames // n_frames
    return times if times >= SHORT else 1


def lengthened(
    correlation: NDArray[np.floating], trained_frames: int, *, turning: bool
) -> NDArray[np.floating]:
    """(2, T, Z, X) as often after one another as `times_shown` says.

    Parameters
    ----------
    correlation : ndarray
        (2, T, Z, X).
    trained_frames : int
        Of the blocks the network was trained with.
    turning : bool
        Whether every second time is played backwards: a bubble then goes back the way it came instead of beginning
        anew, on the same track, but not with the same velocity.

    """
    n_times = times_shown(correlation.shape[1], trained_frames)
    again = correlation[:, ::-1] if turning else correlation
    pieces = [again if time % 2 else correlation for time in range(n_times)]
    return np.concatenate(pieces, axis=1) if n_times > 1 else correlation


def output_over_field(
    network: nn.Module,
    correlation: NDArray[np.floating],
    *,
    precision: str,
    tile: int | None,
    trained_frames: int = 0,
    turning: bool = True,
) -> Tensor:
    """What a network says of every fine pixel, (channel, 8Z, 8X) float32; see `infer_field` and `lengthened`."""
    _check_shape(correlation)
    correlation = lengthened(correlation, trained_frames, turning=turning)
    if tile is None or max(correlation.shape[2:]) <= tile:
        return _output_of_piece(network, correlation, precision)
    return _tiled_output(network, correlation, precision, max(_PIXELS, tile // _PIXELS * _PIXELS))


def infer_sliding(
    network: nn.Module,
    correlation: NDArray[np.floating],
    *,
    window: int = 32,
    stride: int = 2,
    crop: int = 32,
    precision: str = "auto",
    batch_size: int = 4,
    trained_frames: int = 0,
) -> NDArray[np.float32]:
    """Track probability by the paper's sliding window: each window's output cropped, and the maximum of all.

    Thresholded, the maximum is the logical OR of the thresholded windows, as the paper has it.

    Parameters
    ----------
    network, correlation, precision
        See `infer_field`.
    window, stride : int
        Pixels; the paper's 32 and 2. The last window of a row and of a column ends at the field's border.
    crop : int
        Fine pixels cut off every side of a window's output; the paper's 32. Sides on the field's border are
        kept.
    batch_size : int
        Windows at once.
    trained_frames : int
        See `infer_field`.

    Returns
    -------
    ndarray
        (8Z, 8X) float32 between 0 and 1.

    Raises
    ------
    InputError
        If the shape is not (2, T, Z, X), the field is smaller than a window, or what is kept of windows leaves gaps
        between them.

    """
    _check_shape(correlation)
    height, width = correlation.shape[2:]
    field = _prepare(lengthened(correlation, trained_frames, turning=True))
    if not 0 <= 2 * crop < UPSAMPLING * window or window % _PIXELS or stride < 1:
        raise InputError(
            f"sliding window: window {window}, stride {stride}, crop {crop}; "
            f"expected a multiple of {_PIXELS} pixels, at least 1, and a crop that leaves something"
        )
    widest = (UPSAMPLING * window - 2 * crop) // UPSAMPLING
    if stride > widest:
        raise InputError(
            f"sliding window: stride {stride}; expected at most {widest} pixels, since windows of {window} less {crop} "
            "fine pixels on both sides leave gaps otherwise"
        )
    rows, columns = (_window_starts(size, window, stride) for size in field.shape[-2:])
    highest = np.zeros((UPSAMPLING * field.shape[-2], UPSAMPLING * field.shape[-1]), dtype=np.float32)
    places = [(row, column) for row in rows for column in columns]
    for first in range(0, len(places), batch_size):
        group = places[first : first + batch_size]
        windows = torch.stack(
            [field[..., row : row + window, column : column + window] for row, column in group]
        )
        found = _output(network, windows, precision)[:, 0].sigmoid().cpu().numpy()
        for (row, column), probability in zip(group, found, strict=True):
            size = probability.shape
            top = 0 if row == 0 else crop
            left = 0 if column == 0 else crop
            bottom = size[0] - (0 if row == rows[-1] else crop)
            right = size[1] - (0 if column == columns[-1] else crop)
            row_0, column_0 = UPSAMPLING * row, UPSAMPLING * column
            place = highest[row_0 + top : row_0 + bottom, column_0 + left : column_0 + right]
            np.maximum(place, probability[top:bottom, left:right], out=place)
    return highest[: UPSAMPLING * height, : UPSAMPLING * width]


def save_weights(network: nn.Module, path: Path, *, metadata: dict[str, object]) -> None:
    """Write the weights as safetensors, `metadata` (anything JSON can hold) in the header."""
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, str(path), metadata={_METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def load_weights(network: nn.Module, path: Path) -> dict[str, object]:
    """Read weights written by `save_weights` into a network of the same kind and return their metadata.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another network.

    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = json.loads((file.metadata() or {}).get(_METADATA_KEY, "{}"))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable file of weights ({error}); expected safetensors") from error
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != expected:
        raise InputError(
            f"{path}: weights of another network; expected those of the one that is named (network.name)"
        )
    network.load_state_dict(weights)
    return metadata


def _check_shape(correlation: NDArray[np.floating]) -> None:
    if correlation.ndim != 4 or correlation.shape[0] != 2 or 0 in correlation.shape:
        raise InputError(f"maps: shape {correlation.shape}; expected (2, T, Z, X)")


def _prepare(correlation: NDArray[np.floating]) -> Tensor:
    """A field as a float32 tensor, T continued to a multiple of 16, Z and X of 4."""
    n_frames, height, width = correlation.shape[1:]
    index = np.arange(-(-n_frames // _FRAMES) * _FRAMES) % (2 * n_frames)
    if len(index) > n_frames:
        correlation = correlation[:, np.minimum(index, 2 * n_frames - 1 - index)]
    field = torch.from_numpy(np.ascontiguousarray(correlation, dtype=np.float32))
    beyond = (0, -width % _PIXELS, 0, -height % _PIXELS)
    return functional.pad(field, beyond) if any(beyond) else field


@torch.inference_mode()
def _output(network: nn.Module, fields: Tensor, precision: str) -> Tensor:
    """(batch, channel, 8Z, 8X) float32, of (batch, 2, T, Z, X)."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: '{precision}'; expected one of {', '.join(PRECISIONS)}")
    network.eval()
    device = next(network.parameters()).device
    halved = precision_of(network, precision, device.type) == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=halved):
        output: Tensor = network(fields.to(device))
    return output.float()


def _output_of_piece(network: nn.Module, piece: NDArray[np.floating], precision: str) -> Tensor:
    """(channel, 8Z, 8X) float32, of (2, T, Z, X)."""
    height, width = piece.shape[2:]
    output = _output(network, _prepare(piece)[None], precision)[0]
    return output[:, : UPSAMPLING * height, : UPSAMPLING * width].cpu()


def _tiled_output(network: nn.Module, correlation: NDArray[np.floating], precision: str, tile: int) -> Tensor:
    """Output of a field piece by piece; each piece with the network's reach around it, as far as the field
    goes.
    """
    halo = getattr(network, "halo", None)
    if not isinstance(halo, int):
        raise InputError(
            f"{type(network).__name__} has no halo; expected the reach of the network in pixels to cut tiles"
        )
    height, width = correlation.shape[2:]
    output = torch.empty(0)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            row, column = max(0, top - halo), max(0, left - halo)
            piece = _output_of_piece(
                network, correlation[..., row : bottom + halo, column : right + halo], precision
            )
            if not output.numel():
                output = torch.empty(len(piece), UPSAMPLING * height, UPSAMPLING * width)
            rows = slice(UPSAMPLING * (top - row), UPSAMPLING * (bottom - row))
            columns = slice(UPSAMPLING * (left - column), UPSAMPLING * (right - column))
            output[:, UPSAMPLING * top : UPSAMPLING * bottom, UPSAMPLING * left : UPSAMPLING * right] = piece[
                :, rows, columns
            ]
    return output


def _window_starts(size: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one axis; the last window ends at the border."""
    if size < window:
        raise InputError(f"sliding window: {window} pixels; expected no more than the field's {size}")
    starts = list(range(0, size - window + 1, stride))
    return starts if starts[-1] == size - window else [*starts, size - window]
