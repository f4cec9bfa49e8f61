"""Widths of all vessels of an angiogram.

Milecki et al. 2021 (DOI 10.1109/TMI.2021.3056951) give the full width at half maximum of profiles picked by hand.
Here every vessel is measured: the mask of the vessels is thinned to its skeleton, the image is read across it at
every skeleton pixel, and what can't be measured (junctions, vessels that touch, the field's edge) is left out and
counted. A width is that of the *image*: vessel, localization error and raster together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.evaluation.profiles import check_image, profiles_along
from ulmpipe.evaluation.regions import Image, Region

Mask = NDArray[np.bool_]

LEFT_OUT = ("junction", "no_tangent", "truncated", "merged")
_SAMPLES_A_PIXEL = 4  # along a profile
_SITES_AT_ONCE = 4096  # whose profiles are in memory together
_SMOOTHED = 0.1  # of the width of the mask, over which a profile is smoothed


@dataclass(frozen=True)
class VesselWidths:
    """Full widths at half maximum along the skeleton of the vessels.

    Attributes
    ----------
    width
        (site) metres.
    position
        (site, 2) z, x of the skeleton pixel, in pixels.
    tangent
        (site, 2) z, x unit vector along the vessel.
    length
        (site) metres of vessel that the site stands for: a skeleton pixel of an oblique vessel is longer than
        one of an upright vessel.
    left_out
        Skeleton pixels that were not measured, by reason: near a ``junction``; ``no_tangent``, of a piece too short
        to have a direction; ``truncated``, too near to the image's edge, or not below half within the reach;
        ``merged``, another vessel within the width.

    """

    width: NDArray[np.float64]
    position: NDArray[np.float64]
    tangent: NDArray[np.float64]
    length: NDArray[np.float64]
    left_out: dict[str, int]


def vessel_mask(
    image: Image, *, smoothing: float = 1.0, threshold: float | None = None, smallest: int = 20
) -> Mask:
    """Pixels of the vessels: smoothed image above a threshold, small specks removed and holes closed.

    Parameters
    ----------
    image
        (z, x) density or power.
    smoothing
        Standard deviation in pixels of the Gaussian; 0 for none.
    threshold
        In the unit of the image; if not given, that of Otsu (1979, DOI 10.1109/TSMC.1979.4310076) on log(1 + image),
        which depends less on a few bright vessels.
    smallest
        Specks and holes of fewer pixels go.

    Raises
    ------
    InputError
        The image is not (z, x), not finite or constant, or a parameter is out of range.

    """
    from scipy.ndimage import gaussian_filter, label
    from skimage.filters import threshold_otsu

    check_image(image)
    if smoothing < 0 or smallest < 0:
        raise InputError(f"smoothing {smoothing}, smallest {smallest} pixels: expected 0 or more")
    smoothed = gaussian_filter(np.asarray(image, dtype=np.float64), smoothing)
    if threshold is None:
        if np.ptp(smoothed) == 0:
            raise InputError(f"image: all pixels equal {smoothed.flat[0]:g}, no vessel to find")
        threshold = float(np.expm1(threshold_otsu(np.log1p(smoothed - min(0.0, smoothed.min())))))
    touching = np.ones((3, 3))

    def without_small(mask: Mask, structure: NDArray[np.floating] | None) -> Mask:
        pieces, _ = label(mask, structure)
        return (np.bincount(pieces.ravel()) >= smallest)[pieces] & mask

    mask = without_small(smoothed > threshold, touching)
    return ~without_small(~mask, None)


def vessel_widths(
    image: Image,
    mask: Mask,
    pixel_size: float,
    *,
    tangent_length: float = 10.0,
    strip: float = 8.0,
    reach: float = 40.0,
    background: float | None = None,
) -> VesselWidths:
    """Full width at half maximum across every pixel of the vessels' skeleton.

    Parameters
    ----------
    image
        (z, x) density or power, linear (not its logarithm).
    mask
        (z, x) pixels of the vessels, `vessel_mask`; its skeleton says where to measure, never how wide.
    pixel_size
        Metres.
    tangent_length
        Pixels of skeleton to either side from which the direction of a vessel is taken.
    strip
        Pixels along the vessel over which a profile is averaged.
    reach
        Pixels to either side of the skeleton up to which a profile is read.
    background
        Level from which a half is counted, in the unit of the image; the median outside the mask if not given.

    Raises
    ------
    InputError
        Image and mask differ in shape, the image is not finite, or a parameter is out of range.

    """
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    check_image(image)
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != image.shape:
        raise InputError(f"mask of shape {mask.shape}: expected {image.shape} as the image")
    if pixel_size <= 0:
        raise InputError(f"pixel_size: {pixel_size} m, expected a positive size")
    if tangent_length < 1 or strip < 1 or reach < 1:
        raise InputError(
            f"tangent_length {tangent_length}, strip {strip}, reach {reach}: expected 1 pixel or more"
        )
    values = np.asarray(image, dtype=np.float64)
    if background is None:
        background = float(np.median(values[~mask])) if not mask.all() else 0.0

    inside = np.asarray(distance_transform_edt(mask))
    skeleton = _without_spurs(skeletonize(mask), inside)
    branches, junctions = _branches(skeleton)
    # a junction is as wide as the vessels that meet there, and twice that where they meet at an angle
    near = _within(junctions, 2 * inside)
    owner = np.where(skeleton & (branches == 0), -1, branches)

    pixels = np.argwhere(skeleton)
    usable = (branches[skeleton] > 0) & ~near[skeleton]
    pixels = pixels[usable]
    tangent, directed = _tangents(pixels, np.argwhere(branches > 0), branches, tangent_length)
    room = np.maximum(inside[tuple(pixels[directed].T)], 1.0)
    sites, tangent = pixels[directed].astype(np.float64), tangent[directed]

    offsets = np.arange(-reach, reach + 0.5 / _SAMPLES_A_PIXEL, 1 / _SAMPLES_A_PIXEL)
    left, right = np.full((2, len(sites)), np.nan)
    for start in range(0, len(sites), _SITES_AT_ONCE):
        some = slice(start, start + _SITES_AT_ONCE)
        profiles = profiles_along(values, sites[some], offsets, _normals(tangent[some]), tangent[some], strip)
        left[some], right[some] = _half_maximum(profiles - background, offsets, room[some])
    # towards the image's edge the skeleton turns off into a corner of the vessel
    border = np.minimum(sites, np.array(image.shape) - 1 - sites).min(axis=1, initial=np.inf)
    whole = np.isfinite(left) & np.isfinite(right) & (border > 2 * room)
    alone = whole & ~_another_within(owner, sites, tangent, left, right)
    reasons = (~usable, ~directed, ~whole, whole & ~alone)
    return VesselWidths(
        width=(right - left)[alone] * pixel_size,
        position=sites[alone],
        tangent=tangent[alone],
        length=pixel_size / np.abs(tangent[alone]).max(axis=1),
        left_out={name: int(np.count_nonzero(gone)) for name, gone in zip(LEFT_OUT, reasons, strict=True)},
    )


def widths_within(widths: VesselWidths, region: Region) -> VesselWidths:
    """Those of a part of the image: rows and columns of pixels. What was left out is not known by place."""
    inside = np.logical_and.reduce(
        [
            (position >= part.start) & (position < part.stop)
            for position, part in zip(widths.position.T, region, strict=True)
        ]
    )
    return VesselWidths(
        width=widths.width[inside],
        position=widths.position[inside],
        tangent=widths.tangent[inside],
        length=widths.length[inside],
        left_out={},
    )


def width_distribution(widths: VesselWidths) -> dict[str, float | int | None]:
    """Median, quartiles and mean width (m), each metre of vessel counted alike; None where there is none."""
    numbers: dict[str, float | int | None] = {
        "sites": len(widths.width),
        "length": float(widths.length.sum()),
        **{f"left_out_{reason}": number for reason, number in widths.left_out.items()},
    }
    names, shares = ("lower_quartile", "median", "upper_quartile"), (0.25, 0.5, 0.75)
    if len(widths.width) == 0:
        return numbers | dict.fromkeys((*names, "mean"))
    quantiles = np.quantile(widths.width, shares, weights=widths.length, method="inverted_cdf")
    mean = float(np.average(widths.width, weights=widths.length))
    return numbers | dict(zip(names, quantiles.tolist(), strict=True)) | {"mean": mean}


def _neighbours(skeleton: Mask) -> NDArray[np.int64]:
    """Of the 8 pixels around each, how many belong to the skeleton."""
    from scipy.ndimage import convolve

    ring = np.ones((3, 3), dtype=np.int64)
    ring[1, 1] = 0
    return np.asarray(convolve(skeleton.astype(np.int64), ring, mode="constant"))


def _branches(skeleton: Mask) -> tuple[NDArray[np.int32], Mask]:
    """Number of the branch of every pixel (0: none, or at a junction), and the junctions."""
    from scipy.ndimage import binary_dilation, label

    junctions = skeleton & (_neighbours(skeleton) > 2)
    branches, _ = label(skeleton & ~binary_dilation(junctions, np.ones((3, 3))), np.ones((3, 3)))
    return branches, junctions


def _without_spurs(skeleton: Mask, inside: NDArray[np.float64]) -> Mask:
    """Skeleton without the twigs that reach from a vessel's axis to a bump of its wall.

    Such a twig has a free end and is no longer than the vessel is wide (``inside``: distance to the wall).
    """
    from scipy.ndimage import binary_dilation
    from skimage.morphology import skeletonize

    touching = np.ones((3, 3), dtype=bool)
    branches, junctions = _branches(skeleton)
    # as far from a junction as its own surroundings reach: the pixels taken out around it belong to the twig too
    beside = binary_dilation(junctions, np.ones((5, 5))) & (branches > 0)
    n_branches = int(branches.max(initial=0))
    length = np.bincount(branches.ravel(), minlength=n_branches + 1)
    free = np.bincount(branches[skeleton & (_neighbours(skeleton) == 1)], minlength=n_branches + 1) > 0
    room = np.zeros(n_branches + 1)
    np.maximum.at(room, branches[beside], inside[beside])
    spur = free & (room > 0) & (length < 2 * room)
    spur[0] = False
    kept = skeleton & ~spur[branches]
    # what was left of a twig beside its junction hangs on the axis now; thinning again takes it off
    ends = kept & (_neighbours(kept) == 1) & binary_dilation(junctions, touching)
    return np.asarray(skeletonize(kept & ~ends), dtype=bool)


def _within(points: Mask, radius: NDArray[np.float64]) -> Mask:
    """Pixels nearer to any of the points than the radius at their nearest one."""
    from scipy.ndimage import distance_transform_edt

    if not points.any():
        return np.zeros(points.shape, dtype=bool)
    distance, nearest = distance_transform_edt(~points, return_indices=True)
    return np.asarray(distance <= radius[tuple(nearest)])


def _tangents(
    sites: NDArray[np.int64], skeleton: NDArray[np.int64], branches: NDArray[np.integer], reach: float
) -> tuple[NDArray[np.float64], Mask]:
    """Direction (z, x) of the branch at each site: the axis of its skeleton pixels within ``reach``.

    And whether it has one: two pixels in a row have none to speak of.
    """
    from scipy.spatial import cKDTree

    spread = np.zeros((len(sites), 2, 2))
    enough = np.zeros(len(sites), dtype=bool)
    if len(sites) == 0:
        return np.zeros((0, 2)), enough
    name = branches[tuple(skeleton.T)]
    around = cKDTree(skeleton).query_ball_point(sites, reach)
    for number, (site_name, indices) in enumerate(zip(branches[tuple(sites.T)], around, strict=True)):
        near = np.array(indices)
        own = skeleton[near[name[near] == site_name]]
        own = own - own.mean(axis=0)
        spread[number] = own.T @ own
        enough[number] = len(own) > 3
    return np.asarray(np.linalg.eigh(spread)[1][:, :, 1]), enough


def _normals(tangent: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


def _half_maximum(
    profiles: NDArray[np.float64], offsets: NDArray[np.float64], room: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each profile falls to half of its maximum within ``room`` of the middle; NaN where it never does.

    Profiles are smoothed over a part of the mask's width: the greatest of many noisy samples is too great.
    """
    left, right = np.full(len(profiles), np.nan), np.full(len(profiles), np.nan)
    for row, (profile, half_width) in enumerate(zip(profiles, room, strict=True)):
        side = int(_SMOOTHED * half_width * _SAMPLES_A_PIXEL)
        smooth = np.convolve(
            np.pad(profile, side, mode="edge"), np.full(2 * side + 1, 1 / (2 * side + 1)), "valid"
        )
        central = np.where((np.abs(offsets) <= half_width) & np.isfinite(smooth), smooth, -np.inf)
        peak = int(np.argmax(central))
        if central[peak] > 0:
            half = central[peak] / 2
            left[row] = offsets[peak] - _fall(smooth[peak::-1], half) / _SAMPLES_A_PIXEL
            right[row] = offsets[peak] + _fall(smooth[peak:], half) / _SAMPLES_A_PIXEL
    return left, right


def _fall(outward: NDArray[np.float64], level: float) -> float:
    """Samples from the first one to where it falls below the level (linear between them); NaN for never."""
    below = np.flatnonzero(~(outward >= level))  # or leaves the image
    if len(below) == 0:
        return float("nan")
    last = below[0]
    return float(last - 1 + (outward[last - 1] - level) / (outward[last - 1] - outward[last]))


def _another_within(
    owner: NDArray[np.integer],
    sites: NDArray[np.float64],
    tangent: NDArray[np.float64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
) -> Mask:
    """Whether the skeleton of another branch (or a junction) lies between both edges of a profile."""
    normal = _normals(tangent)
    limits = np.array(owner.shape) - 1
    found = np.zeros(len(sites), dtype=bool)
    for number, site in enumerate(sites):
        if not (np.isfinite(left[number]) and np.isfinite(right[number])):
            continue
        offsets = np.arange(left[number], right[number], 0.5)
        line = np.clip(np.rint(site + offsets[:, None] * normal[number]).astype(int), 0, limits)
        names = owner[tuple(line.T)]
        found[number] = np.any((names != 0) & (names != owner[tuple(site.astype(int))]))
    return found
