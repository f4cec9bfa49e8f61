"""Rigid motion of the tissue within a block, and how it is taken out: breathing, heartbeat, slow drift.

Between the clutter filter and the angiogram, and optional: `no_motion` is the null model. Along z the phase of the
carrier says how far the tissue has moved, finely but only up to whole periods; the envelopes say which period. (Axial
phase estimator with the carrier measured on the images: Loupas et al. 1995, DOI 10.1109/58.393110; here the field is
one large window and the lag that from the middle frame.) Along x the peak of the correlation is placed below the pixel.
The field moves as one: where the tissue strains by more than about λ/8 over it, take smaller fields.

Motion has the signs of `ulmpipe.registration.estimate_shift`: content of the middle frame at p lies in a frame at
p + motion[frame]. Beside a drift between blocks the two add up, if the drift was found on `tissue_image`:
``motion + drift.displacement[block]``.

Which correction when
---------------------
`subtract_motion` from localizations wherever there are any: nothing is resampled, nothing enters or leaves the field.
`move_images` of correlation maps, after the clutter filter, for what takes maps (a network); either interpolation does.
`move_images` of IQ before the clutter filter, when tissue moves so much that it takes too many singular components:
Fourier only, since tissue lies 30 dB and more above the bubbles, and the errors of interpolating it must not.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.registration import estimate_shift, overlap

EDGE = 16  # pixels at least by which a field is continued and faded out, so that a Fourier shift does not ring in it


def no_motion(n_frames: int) -> NDArray[np.float64]:
    """Motion (frame, 2) of tissue that is taken to be at rest: the correction switched off."""
    return np.zeros((n_frames, 2))


def estimate_motion(
    iq: NDArray[np.complexfloating],
    *,
    carrier: float,
    group: int = 5,
    upsampling: int = 100,
    maximum_shift: float | None = None,
) -> NDArray[np.float64]:
    """Displacement of the tissue in every frame from the middle one.

    First, groups of frames are registered by the mean of their envelopes (`estimate_shift`) with the middle group, and
    their displacements joined by smoothing splines, whose smoothness generalised cross-validation chooses (Wahba 1990,
    DOI 10.1137/1.9781611970128). Then each frame, moved back by the nearest whole pixels, is multiplied by the middle
    frame's conjugate and summed. The phase of the sum, over the carrier's radians a pixel, is the rest along z; the
    moduli of three such sums, at neighbouring columns, have their peak at the rest along x, which is smoothed alike.

    Parameters
    ----------
    iq
        (frame, z, x), one block before the clutter filter, its carrier not removed; tissue must outshine bubbles.
    carrier
        Radians by which the phase of the images turns a pixel of depth, 2 · wavenumber · pixel, to within a quarter of
        a turn: the images' own is measured.
    group
        Frames whose envelopes are averaged. They should move by less than a pixel meanwhile.
    upsampling, maximum_shift
        See `estimate_shift`.

    Returns
    -------
    (frame, 2) float64, z and x in pixels; 0 in frame n_frames // 2.

    Raises
    ------
    InputError
        Images of another rank, real or without content, a group or a carrier that is not positive.

    """
    if iq.ndim != 3 or not np.iscomplexobj(iq):
        raise InputError(f"iq: {iq.dtype} of shape {iq.shape}, expected complex (frame, z, x)")
    if group < 1 or not carrier > 0:
        raise InputError(
            f"group, carrier: {group}, {carrier}, expected at least 1 frame, above 0 rad a pixel"
        )
    coarse = _envelope_motion(iq, group=group, upsampling=upsampling, maximum_shift=maximum_shift)
    motion = _axial_and_lateral(iq, coarse, carrier=carrier)
    frames = np.arange(len(iq))
    # the middle frame's noise makes its product with itself peak at 0 exactly
    others = frames != len(iq) // 2
    motion[:, 1] = _smooth(frames[others], motion[others, 1], frames) if others.any() else 0.0
    return motion - motion[len(iq) // 2]


def tissue_image(
    iq: NDArray[np.complexfloating], motion: NDArray[np.floating], *, carrier: float
) -> NDArray[np.float32]:
    """Mean envelope (z, x) of a block's tissue as it lay in the middle frame, to find the drift between blocks on.

    Parameters
    ----------
    iq, carrier
        See `estimate_motion`.
    motion
        (frame, 2) z, x in pixels.

    """
    frames = _checked(motion, len(iq))
    total = np.zeros(iq.shape[1:], dtype=np.float64)
    for image, by in zip(iq, frames, strict=True):
        total += np.abs(
            _moved_by_spectrum(np.asarray(image, np.complex64), -by, carrier=carrier, removed=False)
        )
    return (total / len(iq)).astype(np.float32)


def subtract_motion(
    localizations: NDArray[np.void], motion: NDArray[np.floating], *, upsampling: int | None = None
) -> NDArray[np.void]:
    """Localizations where their tissue lay in the middle frame.

    Parameters
    ----------
    localizations
        Records with the fields `frame`, `z` and `x`, in pixels, as `ulmpipe.localization.localize` gives them.
    motion
        (frame, 2) z, x in pixels.
    upsampling
        Fine pixels a pixel: subtract whole fine pixels only, as `ulmpipe.angiogram.register_maps` does, so that motion
        within half of one changes no map. None subtracts the motion as it is.

    Returns
    -------
    A copy of the same dtype, in the same order. Positions may lie outside the field.

    Raises
    ------
    InputError
        Motion of another shape or not finite, or a frame for which there is none.

    """
    frames = localizations["frame"]
    checked = _checked(motion, None)
    if len(frames) and not (frames.min() >= 0 and frames.max() < len(checked)):
        raise InputError(
            f"localizations: frames {frames.min()} to {frames.max()}, expected 0 to {len(checked) - 1} of the motion"
        )
    if upsampling is not None:
        checked = np.rint(upsampling * checked) / upsampling
    corrected = localizations.copy()
    for axis, name in enumerate(("z", "x")):
        corrected[name] = localizations[name] - checked[frames, axis]
    return corrected


def move_images(
    images: NDArray[np.complexfloating],
    displacement: NDArray[np.floating],
    *,
    carrier: float,
    carrier_removed: bool,
    method: Literal["fourier", "cubic"] = "fourier",
) -> NDArray[np.complex64]:
    """Move complex images below the pixel, their carrier with them; to undo a motion, move by minus it.

    The carrier is taken off, the rest interpolated (it is what varies slowly), the phase turned by −carrier · z for a
    move by z, and the carrier put on again. Images moved by exactly 0 are left as they are. What enters is zero.

    Parameters
    ----------
    images
        (frame, z, x) complex.
    displacement
        (frame, 2) z, x in pixels, by which the content moves towards larger z and x.
    carrier
        Radians a pixel of depth, see `estimate_motion`.
    carrier_removed
        True for correlation maps and what has passed `ulmpipe.correlation.remove_carrier`, False for IQ.
    method
        "fourier": exact for band-limited images but for a few pixels beside the border. "cubic": splines, for which
        each pixel depends on those near it alone; slower, and good where spots are wide: its error is −67 dB of the
        image for a point spread function of standard deviations 2 and 3 pixels, and −30 dB for 0.85 and 1.3.

    Returns
    -------
    (frame, z, x) complex64.

    Raises
    ------
    InputError
        Images of another rank or real, a displacement of another shape or not finite, an unknown method.

    """
    if images.ndim != 3 or not np.iscomplexobj(images):
        raise InputError(f"images: {images.dtype} of shape {images.shape}, expected complex (frame, z, x)")
    if method not in ("fourier", "cubic"):
        raise InputError(f"method: {method!r}, expected 'fourier' or 'cubic'")
    move = _moved_by_spectrum if method == "fourier" else _moved_by_splines
    moved = np.empty(images.shape, dtype=np.complex64)
    for frame, by in enumerate(_checked(displacement, len(images))):
        image = images[frame].astype(np.complex64, copy=False)
        moved[frame] = move(image, by, carrier=carrier, removed=carrier_removed)
    return moved


def _checked(motion: NDArray[np.floating], n_frames: int | None) -> NDArray[np.float64]:
    frames = np.asarray(motion, dtype=np.float64)
    if frames.ndim != 2 or frames.shape[1] != 2 or n_frames not in (None, len(frames)):
        wanted = "frame" if n_frames is None else n_frames
        raise InputError(f"motion: shape {frames.shape}, expected ({wanted}, 2): z and x of every frame")
    if not np.isfinite(frames).all():
        raise InputError("motion: NaN or infinite displacement, expected finite pixels")
    return frames


def _envelope_motion(
    iq: NDArray[np.complexfloating], *, group: int, upsampling: int, maximum_shift: float | None
) -> NDArray[np.float64]:
    """(frame, 2) from registered groups, one of which has the middle frame in its middle."""
    n_frames = len(iq)
    first = (n_frames // 2 - group // 2) % group
    edges = np.unique([0, *range(first, n_frames, group), n_frames])
    envelopes = [np.abs(iq[start:stop]).mean(axis=0) for start, stop in pairwise(edges)]
    times = (edges[:-1] + edges[1:] - 1) / 2
    middle = envelopes[int(np.searchsorted(edges, n_frames // 2, side="right")) - 1]
    shifts = np.array(
        [
            estimate_shift(middle, envelope, upsampling=upsampling, maximum_shift=maximum_shift)
            for envelope in envelopes
        ]
    )
    return np.stack([_smooth(times, shifts[:, axis], np.arange(n_frames)) for axis in (0, 1)], axis=1)


def _smooth(
    times: NDArray[np.floating] | NDArray[np.integer],
    values: NDArray[np.float64],
    wanted: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Smoothing spline through values at times, at the wanted times."""
    from scipy.interpolate import make_smoothing_spline

    if len(times) < 5 or np.ptp(values) == 0:  # fewer than a smoothing spline takes
        return np.asarray(np.interp(wanted, times, values))
    return np.asarray(make_smoothing_spline(times, values)(wanted))


def _axial_and_lateral(
    iq: NDArray[np.complexfloating], coarse: NDArray[np.float64], *, carrier: float
) -> NDArray[np.float64]:
    """(frame, 2) from each frame's product with the middle one, summed at the nearest lag and the columns beside it."""
    _, n_z, n_x = iq.shape
    middle = iq[len(iq) // 2]
    # the images' own carrier: that of the pulse as it comes back, through an aperture
    turn = np.vdot(middle[:-1], middle[1:]) * np.exp(-1j * carrier)
    own = carrier + float(np.angle(turn))
    period = 2 * np.pi / own
    motion = np.empty((len(iq), 2))
    for frame, (z, x) in enumerate(np.rint(coarse).astype(int).tolist()):
        columns = slice(max(0, 1 - x), min(n_x, n_x - 1 - x))  # of the middle frame, one left on either side
        fixed = middle[overlap(n_z, -z), columns]
        lags = [
            iq[frame, overlap(n_z, z), columns.start + x + lag : columns.stop + x + lag] for lag in (-1, 0, 1)
        ]
        products = [np.vdot(fixed, moving) for moving in lags]
        rest = -float(np.angle(products[1])) / own
        # in the carrier's period nearest to what the envelopes say
        motion[frame, 0] = z + rest + period * np.rint((coarse[frame, 0] - z - rest) / period)
        # each lag over the energy it fell on, so that a bright scatterer at the border does not pull
        peak = [abs(product) / np.linalg.norm(moving) for product, moving in zip(products, lags, strict=True)]
        motion[frame, 1] = x + _gaussian_peak(peak, otherwise=coarse[frame, 1] - x)
    return motion


def _gaussian_peak(values: list[float], *, otherwise: float) -> float:
    """Place of the peak of a Gaussian through three values at −1, 0 and 1; `otherwise` if it has none there."""
    if not min(values) > 0:
        return otherwise
    before, at, after = np.log(values)
    curvature = before - 2 * at + after
    place = 0.5 * (before - after) / curvature if curvature < 0 else np.inf
    return float(place) if abs(place) <= 1 else otherwise


def _moved_by_spectrum(
    image: NDArray[np.complex64], by: NDArray[np.float64], *, carrier: float, removed: bool
) -> NDArray[np.complex64]:
    from scipy.fft import fft2, fftfreq, ifft2, next_fast_len

    if not by.any():
        return image
    n_z, n_x = image.shape
    whole = np.rint(by).astype(int)
    rest = by - whole
    wide = _without_carrier(image, carrier, removed)
    for axis, n in enumerate(image.shape):
        wide = _faded_out(wide, axis, after=next_fast_len(n + 2 * EDGE) - n - EDGE)
    z, x = (fftfreq(n) for n in wide.shape)
    phase_z = np.exp(-2j * np.pi * rest[0] * z).astype(np.complex64)
    phase_x = np.exp(-2j * np.pi * rest[1] * x).astype(np.complex64)
    fraction = ifft2(fft2(wide) * phase_z[:, None] * phase_x)[EDGE : EDGE + n_z, EDGE : EDGE + n_x]
    moved = np.zeros_like(image)
    to_z, to_x = overlap(n_z, int(whole[0])), overlap(n_x, int(whole[1]))
    moved[to_z, to_x] = fraction[overlap(n_z, -int(whole[0])), overlap(n_x, -int(whole[1]))]
    return _with_carrier(moved, float(by[0]), carrier, removed)


def _faded_out(image: NDArray[np.complex64], axis: int, *, after: int) -> NDArray[np.complex64]:
    """Continued smoothly along an axis by EDGE pixels before it and some after, and brought down to zero there."""
    padding = [(0, 0), (0, 0)]
    padding[axis] = (EDGE, after)
    wide = np.pad(image, padding, mode="reflect", reflect_type="odd")
    rise, fall = (np.sin(np.pi / 2 * (np.arange(n) + 0.5) / n) ** 2 for n in (EDGE, after))
    fade = np.concatenate([rise, np.ones(image.shape[axis]), fall[::-1]]).astype(np.float32)
    return np.asarray(wide * (fade[:, None] if axis == 0 else fade))


def _moved_by_splines(
    image: NDArray[np.complex64], by: NDArray[np.float64], *, carrier: float, removed: bool
) -> NDArray[np.complex64]:
    from scipy.ndimage import shift

    if not by.any():
        return image
    moved = shift(_without_carrier(image, carrier, removed), by, order=3, mode="constant")
    return _with_carrier(moved, float(by[0]), carrier, removed)


def _without_carrier(image: NDArray[np.complex64], carrier: float, removed: bool) -> NDArray[np.complex64]:
    return image if removed else image * _carrier(len(image), -carrier)


def _with_carrier(
    moved: NDArray[np.complex64], z: float, carrier: float, removed: bool
) -> NDArray[np.complex64]:
    """An image freed of its carrier that was moved by z, with the phase that a real displacement gives it."""
    turned = moved * np.complex64(np.exp(-1j * carrier * z))
    return turned if removed else turned * _carrier(len(moved), carrier)


def _carrier(n_z: int, carrier: float) -> NDArray[np.complex64]:
    return np.exp(1j * carrier * np.arange(n_z))[:, None].astype(np.complex64)
