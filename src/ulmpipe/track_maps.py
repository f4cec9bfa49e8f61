"""Maps of tracked bubbles: how many passed each fine pixel, how fast and which way.

A track is the straight line from each of its points to the next. Every pixel this line runs through counts the
track once, however long it stays or how often it comes back, and takes the track's velocity averaged over the
time spent in the pixel: a slow bubble, of which there are more points, does not outweigh a fast one. Maps of
this kind are those of Heiles et al., Nat. Biomed. Eng. 6 (2022) 605–616, DOI 10.1038/s41551-021-00824-8, who
interpolate the tracks at equal steps; here the crossings of the pixels' borders are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ulmpipe.errors import InputError

FIELDS = ("track", "frame", "z", "x", "vz", "vx")
SHORTEST_VISIT = 1e-9  # pixels: a line through a corner touches no third pixel by rounding


@dataclass(frozen=True, kw_only=True)
class FineGrid:
    """Pixels of a map, (z, x): how many, how large (m), and where the centre of the first one is (m)."""

    shape: tuple[int, int]
    spacing: tuple[float, float]
    origin: tuple[float, float]

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise InputError(f"grid.shape: {self.shape}, expected at least one pixel (z, x)")
        if not (np.isfinite(self.spacing).all() and min(self.spacing) > 0):
            raise InputError(f"grid.spacing: {self.spacing}, expected positive metres (z, x)")
        if not np.isfinite(self.origin).all():
            raise InputError(f"grid.origin: {self.origin}, expected finite metres (z, x)")

    @classmethod
    def covering(cls, extent: tuple[float, float, float, float], spacing: float) -> FineGrid:
        """Square pixels from the upper left corner of a field; the last ones may reach beyond its other edges.

        Parameters
        ----------
        extent
            Outer edges: x of the left and right, z of the top and bottom (m).
        spacing
            Side of a pixel (m), a tenth of a wavelength for instance.

        Raises
        ------
        InputError
            The extent is not ascending, or the spacing not positive.

        """
        left, right, top, bottom = extent
        if not (right > left and bottom > top):
            raise InputError(f"extent: {extent}, expected x left < right and z top < bottom in metres")
        if not spacing > 0:
            raise InputError(f"spacing: {spacing} m, expected a positive size")
        n_z, n_x = (int(np.ceil(side / spacing - 1e-6)) for side in (bottom - top, right - left))
        return cls(
            shape=(n_z, n_x), spacing=(spacing, spacing), origin=(top + spacing / 2, left + spacing / 2)
        )

    @classmethod
    def of_images(cls, shape: tuple[int, int], geometry: Mapping[str, Any]) -> FineGrid:
        """Pixels of stored images (z, x), from their ``spacing`` and ``origin`` (m), each by axis."""
        spacing, origin = geometry["spacing"], geometry["origin"]
        return cls(shape=shape, spacing=(spacing["z"], spacing["x"]), origin=(origin["z"], origin["x"]))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Outer edges: x of the left and right, z of the top and bottom (m)."""
        top, left = (first - step / 2 for first, step in zip(self.origin, self.spacing, strict=True))
        return left, left + self.shape[1] * self.spacing[1], top, top + self.shape[0] * self.spacing[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackMaps:
    """Maps (z, x) of the tracks that cross each pixel; where there are none, counts are 0 and the others NaN.

    Attributes
    ----------
    density : int32
        Distinct tracks.
    downward, upward : int32
        Those of them that move towards larger z, and towards smaller z, while in the pixel.
    speed : float32
        Mean over the tracks of their speed, m/s.
    velocity_z, velocity_x : float32
        Mean over the tracks of their velocity, m/s.

    """

    density: NDArray[np.int32]
    downward: NDArray[np.int32]
    upward: NDArray[np.int32]
    speed: NDArray[np.float32]
    velocity_z: NDArray[np.float32]
    velocity_x: NDArray[np.float32]

    @property
    def direction(self) -> NDArray[np.float32]:
        """Angle of the mean velocity, rad, -π to π: 0 towards +x, π/2 down (+z); NaN too where it is exactly 0."""
        still = (self.velocity_z == 0) & (self.velocity_x == 0)
        return np.where(still, np.float32(np.nan), np.arctan2(self.velocity_z, self.velocity_x))

    def flux(self, duration: float) -> NDArray[np.float32]:
        """Downward less upward tracks per second: positive where most go down, 0 where as many go either way.

        Added up over the pixels of a row across an upright vessel, it is how many bubbles a second went down it.

        Parameters
        ----------
        duration
            How long was recorded, pauses between blocks left out (s).

        Raises
        ------
        InputError
            The duration is not positive.

        """
        if not duration > 0:
            raise InputError(f"duration: {duration} s, expected a positive time")
        return np.asarray((self.downward - self.upward) / duration, dtype=np.float32)


def track_maps(blocks: Iterable[NDArray[np.void]], grid: FineGrid, *, minimum_points: int = 2) -> TrackMaps:
    """Count tracks on a fine grid and average how they move.

    Position, velocity and speed are linear in time between two points of a track, also where frames are missing
    between them. What lies outside the grid is left out.

    Parameters
    ----------
    blocks
        One array of records per block, registered (positions in the frame of the first block), with the fields
        ``track`` and ``frame`` (integers), ``z``, ``x`` (m), ``vz``, ``vx`` (m/s), sorted by track, then frame.
        Numbers of tracks are those of the block: the same number in another block is another track.
    grid
        Pixels of the maps.
    minimum_points
        Tracks of fewer points are left out; at least 2, since one point alone has gone nowhere.

    Raises
    ------
    InputError
        A field is missing, records are out of order or not finite, or ``minimum_points`` is below 2.

    """
    if minimum_points < 2:
        raise InputError(f"minimum_points: {minimum_points}, expected at least 2")
    n_pixels = grid.shape[0] * grid.shape[1]
    counts = np.zeros((n_pixels, 3), dtype=np.int32)  # all, downward, upward
    sums = np.zeros((n_pixels, 3))  # vz, vx, speed
    passage = np.zeros((n_pixels, 4))  # of one track: time, and its integrals of vz, vx, speed
    crossed = np.empty(n_pixels, dtype=np.int64)
    for tracks in blocks:
        first = _first_points(tracks)
        long_enough = np.diff(first) >= minimum_points
        _add_tracks(
            _pixels_of(tracks["z"], grid, axis=0),
            _pixels_of(tracks["x"], grid, axis=1),
            tracks["frame"].astype(np.float64),
            tracks["vz"].astype(np.float64),
            tracks["vx"].astype(np.float64),
            np.stack([first[:-1], first[1:]], axis=1)[long_enough],
            grid.shape[0],
            grid.shape[1],
            counts,
            sums,
            passage,
            crossed,
        )
    density, downward, upward = (counts[:, column].reshape(grid.shape).copy() for column in range(3))
    with np.errstate(invalid="ignore"):
        velocity_z, velocity_x, speed = (
            (sums[:, column].reshape(grid.shape) / density).astype(np.float32) for column in range(3)
        )
    return TrackMaps(
        density=density,
        downward=downward,
        upward=upward,
        speed=speed,
        velocity_z=velocity_z,
        velocity_x=velocity_x,
    )


def brightest_track_map(
    tracks: NDArray[np.void], brightness: NDArray[np.floating], grid: FineGrid
) -> NDArray[np.float32]:
    """Brightness of the brightest track that crosses each pixel, (z, x); 0 where there is none.

    The pixels ≥ t are those that the tracks at least as bright as t cross: one map serves every threshold.

    Parameters
    ----------
    tracks
        Records of one block as `track_maps` takes them.
    brightness
        (track,), in their order, above 0.
    grid
        Pixels of the map.

    Raises
    ------
    InputError
        A field is missing, records are out of order or not finite, or there are not as many tracks as brightnesses.

    """
    first = _first_points(tracks)
    if len(brightness) != len(first) - 1:
        raise InputError(f"brightness: {len(brightness)} of {len(first) - 1} tracks, expected as many")
    brightest = np.zeros(grid.shape[0] * grid.shape[1], dtype=np.float32)
    _mark_tracks(
        _pixels_of(tracks["z"], grid, axis=0),
        _pixels_of(tracks["x"], grid, axis=1),
        tracks["frame"].astype(np.float64),
        np.stack([first[:-1], first[1:]], axis=1),
        brightness.astype(np.float32),
        grid.shape[0],
        grid.shape[1],
        brightest,
    )
    return brightest.reshape(grid.shape)


def _first_points(tracks: NDArray[np.void]) -> NDArray[np.int64]:
    """Index of the first point of each track, and the number of points; refuses what is not a table of tracks."""
    missing = [field for field in FIELDS if field not in (tracks.dtype.names or ())]
    if missing:
        raise InputError(f"tracks: field {missing[0]!r} is missing, expected {', '.join(FIELDS)}")
    for field in FIELDS[2:]:
        if not np.isfinite(tracks[field]).all():
            raise InputError(f"tracks: NaN or infinite {field}, expected finite ones")
    number = tracks["track"].astype(np.int64)
    changes = np.diff(number)
    same_track = changes == 0
    if (changes < 0).any() or (np.diff(tracks["frame"].astype(np.int64))[same_track] <= 0).any():
        raise InputError("tracks: out of order, expected to be sorted by track, then frame, each frame once")
    borders = np.flatnonzero(changes) + 1
    return np.concatenate([np.zeros(1, np.int64), borders, np.full(min(len(number), 1), len(number))])


def _pixels_of(coordinate: NDArray[np.floating], grid: FineGrid, *, axis: int) -> NDArray[np.float64]:
    """Metres in pixels from the edge of the first pixel: pixel i is from i to i + 1."""
    return (coordinate.astype(np.float64) - grid.origin[axis]) / grid.spacing[axis] + 0.5


@njit(cache=True, nogil=True)
def _add_tracks(z, x, frame, vz, vx, ranges, n_z, n_x, counts, sums, passage, crossed):  # type: ignore[no-untyped-def]
    """Add tracks, each the points of one of `ranges`, to `counts` and `sums`; `passage` comes and leaves as zeros."""
    for track in range(len(ranges)):
        n_crossed = 0
        for point in range(ranges[track, 0], ranges[track, 1] - 1):
            n_crossed = _follow_segment(z, x, frame, vz, vx, point, n_z, n_x, passage, crossed, n_crossed)
        for i in range(n_crossed):
            pixel = crossed[i]
            time = passage[pixel, 0]
            counts[pixel, 0] += 1
            if passage[pixel, 1] > 0:
                counts[pixel, 1] += 1
            elif passage[pixel, 1] < 0:
                counts[pixel, 2] += 1
            for column in range(3):
                sums[pixel, column] += passage[pixel, 1 + column] / time
            passage[pixel] = 0.0


@njit(cache=True, nogil=True)
def _mark_tracks(z, x, frame, ranges, brightness, n_z, n_x, brightest):  # type: ignore[no-untyped-def]
    """Raise the pixels that each track crosses to its brightness."""
    still = np.zeros(len(z))
    passage = np.zeros((n_z * n_x, 4))
    crossed = np.empty(n_z * n_x, dtype=np.int64)
    for track in range(len(ranges)):
        n_crossed = 0
        for point in range(ranges[track, 0], ranges[track, 1] - 1):
            n_crossed = _follow_segment(
                z, x, frame, still, still, point, n_z, n_x, passage, crossed, n_crossed
            )
        for i in range(n_crossed):
            passage[crossed[i]] = 0.0
            brightest[crossed[i]] = max(brightest[crossed[i]], brightness[track])


@njit(cache=True, nogil=True)
def _follow_segment(z, x, frame, vz, vx, point, n_z, n_x, passage, crossed, n_crossed):  # type: ignore[no-untyped-def]
    """Walk from one point to the next, from one border of pixels to the next; part runs from 0 to 1 on the way.

    The pixel between two crossings is that of the middle between them, and what is linear on the way has its mean
    there. Returns how many pixels of the track are now in `crossed`.
    """
    step_z, step_x = z[point + 1] - z[point], x[point + 1] - x[point]
    enter_z, leave_z = _part_inside(z[point], step_z, n_z)
    enter_x, leave_x = _part_inside(x[point], step_x, n_x)
    part, last = max(enter_z, enter_x), min(leave_z, leave_x)
    border_z, border_x = _next_border(z[point], step_z, part), _next_border(x[point], step_x, part)
    duration = frame[point + 1] - frame[point]
    shortest = SHORTEST_VISIT / max(np.hypot(step_z, step_x), 1.0)
    speed, next_speed = np.hypot(vz[point], vx[point]), np.hypot(vz[point + 1], vx[point + 1])
    while part < last:
        part_z = (border_z - z[point]) / step_z if step_z != 0.0 else np.inf
        part_x = (border_x - x[point]) / step_x if step_x != 0.0 else np.inf
        following = min(part_z, part_x, last)
        if following - part > shortest:
            middle = 0.5 * (part + following)
            pixel_z = min(max(int(np.floor(z[point] + middle * step_z)), 0), n_z - 1)
            pixel_x = min(max(int(np.floor(x[point] + middle * step_x)), 0), n_x - 1)
            pixel = pixel_z * n_x + pixel_x
            if passage[pixel, 0] == 0.0:
                crossed[n_crossed] = pixel
                n_crossed += 1
            time = (following - part) * duration
            passage[pixel, 0] += time
            passage[pixel, 1] += time * (vz[point] + middle * (vz[point + 1] - vz[point]))
            passage[pixel, 2] += time * (vx[point] + middle * (vx[point + 1] - vx[point]))
            passage[pixel, 3] += time * (speed + middle * (next_speed - speed))
        part = max(part, following)
        if part_z <= part:
            border_z += np.sign(step_z)
        if part_x <= part:
            border_x += np.sign(step_x)
    return n_crossed


@njit(cache=True, nogil=True)
def _part_inside(start, step, length):  # type: ignore[no-untyped-def]
    """From where to where on its way from 0 to 1 a point is within 0 ≤ coordinate < length."""
    if step == 0.0:
        return (0.0, 1.0) if 0.0 <= start < length else (1.0, 0.0)
    to_low, to_high = -start / step, (length - start) / step
    return max(min(to_low, to_high), 0.0), min(max(to_low, to_high), 1.0)


@njit(cache=True, nogil=True)
def _next_border(start, step, part):  # type: ignore[no-untyped-def]
    """The first whole number ahead of where a point is after `part` of its way."""
    here = start + part * step
    return np.floor(here) + 1.0 if step > 0.0 else np.ceil(here) - 1.0
