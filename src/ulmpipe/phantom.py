"""A stand-in for an animal: what a synthetic in vivo acquisition has besides bubbles.

Sub-volumes of one network side by side, tissue that scatters and moves, and drift between the data blocks;
and random rotations of the training volumes. From `ulmpipe.flow` to `ulmpipe.acoustics`. Everything is a
function of the recording's random generator and of absolute time, never of which process simulates which
block.

Three frames matter to the caller: trajectories and ground truth stay in the *tissue* frame (that of block 0
at rest); what the probe sees is the tissue frame displaced by the drift of the block plus the motion at the
event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import pi

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ulmpipe.errors import InputError
from ulmpipe.flow.bubbles import Bubbles


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Rotation matrix, uniform over all rotations of space.

    Returns
    -------
    (3, 3) float64
    """
    return np.asarray(Rotation.from_quat(rng.standard_normal(4)).as_matrix(), dtype=np.float64)


def rotate(vector: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.floating]:
    """Turn or mirror positions (about the origin) or velocities.

    Parameters
    ----------
    vector : (…, 3) float
        Components x, y, z; NaN stays NaN.
    matrix : (3, 3) float64
        Orthogonal matrix.

    Returns
    -------
    (…, 3) float of the same dtype
    """
    return vector @ matrix.T.astype(vector.dtype)


def cube_symmetries() -> NDArray[np.float64]:
    """The flips and 90° rotations that map a cube onto itself, the identity first.

    Returns
    -------
    (48, 3, 3) float64
    """
    rows = np.eye(3)
    return np.array(
        [
            np.diag(signs) @ rows[list(order)]
            for order in permutations(range(3))
            for signs in product((1.0, -1.0), repeat=3)
        ]
    )


@dataclass(frozen=True)
class Mosaic:
    """Cubes side by side in the image plane, each the same volume seen another way.

    Attributes
    ----------
    orientation : (tile, 3, 3) float64
        A different cube symmetry for every tile.
    centre : (tile, 3) float64
        Centres in m; tiles are numbered along x first.
    """

    orientation: NDArray[np.float64]
    centre: NDArray[np.float64]


def lay_mosaic(rng: np.random.Generator, *, n_x: int, n_z: int, side: float, depth: float) -> Mosaic:
    """Lay n_x × n_z cubes around x = 0, y = 0 and a depth.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the orientations.
    n_x, n_z : int
        Number of cubes along x and z.
    side : float
        Side of a cube in m.
    depth : float
        Depth z of the middle of the mosaic in m.

    Returns
    -------
    Mosaic

    Raises
    ------
    InputError
        If there is no tile or there are more than the cube has symmetries.
    """
    # of two that differ only across the image plane, one: they look alike
    symmetries = cube_symmetries()
    symmetries = symmetries[symmetries[:, 1].sum(axis=-1) > 0]
    if n_x < 1 or n_z < 1 or n_x * n_z > len(symmetries):
        raise InputError(f"mosaic is {n_x} × {n_z} tiles, expected from 1 to {len(symmetries)} in all")
    column, row = np.tile(np.arange(n_x), n_z), np.repeat(np.arange(n_z), n_x)
    x = (column - (n_x - 1) / 2) * side
    z = (row - (n_z - 1) / 2) * side + depth
    chosen = rng.choice(len(symmetries), size=n_x * n_z, replace=False)
    return Mosaic(orientation=symmetries[chosen], centre=np.stack([x, np.zeros_like(x), z], axis=1))


def place_bubbles(tiles: Sequence[Bubbles], mosaic: Mosaic) -> Bubbles:
    """Put independent bubbles of one volume into the tiles of a mosaic.

    Parameters
    ----------
    tiles : sequence of Bubbles
        One per tile, in a cube around the origin, all with the same events.
    mosaic : Mosaic
        Where the tiles lie and how they are turned.

    Returns
    -------
    Bubbles
        Of all tiles, tile after tile along the bubble axis; `vessel` keeps the numbers of the one graph.

    Raises
    ------
    InputError
        If the number of tiles differs.
    """
    if len(tiles) != len(mosaic.centre):
        raise InputError(f"got bubbles for {len(tiles)} tiles, expected {len(mosaic.centre)}")
    placed = list(zip(tiles, mosaic.orientation, mosaic.centre.astype(np.float32), strict=True))
    return Bubbles(
        position=np.concatenate([rotate(tile.position, turn) + centre for tile, turn, centre in placed], 1),
        velocity=np.concatenate([rotate(tile.velocity, turn) for tile, turn, _ in placed], 1),
        vessel=np.concatenate([tile.vessel for tile in tiles], 1),
        diameter=np.concatenate([tile.diameter for tile in tiles], 1),
        life=np.concatenate([tile.life for tile in tiles], 1),
        rank=np.concatenate([tile.rank for tile in tiles]),
    )


@dataclass(frozen=True)
class Tissue:
    """Point scatterers at rest.

    Attributes
    ----------
    position : (scatterer, 3) float32
        x, y, z in m.
    reflectivity : (scatterer,) float32
        Normal with mean 0.
    """

    position: NDArray[np.float32]
    reflectivity: NDArray[np.float32]


def tissue_scatterers(
    rng: np.random.Generator, *, n_scatterers: int, extent: NDArray[np.floating], reflectivity: float
) -> Tissue:
    """Scatter tissue uniformly in a box.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws positions and reflectivities.
    n_scatterers : int
        Fully developed speckle needs ten or more in a resolution cell.
    extent : (3, 2) float
        First and last x, y and z in m; wider than the image, or its border darkens.
    reflectivity : float
        Standard deviation of the reflectivity, that of a bubble being 1.

    Returns
    -------
    Tissue

    Raises
    ------
    InputError
        If the box is empty or the number negative.
    """
    box = np.asarray(extent, dtype=np.float64)
    if box.shape != (3, 2) or not np.all(box[:, 0] < box[:, 1]):
        raise InputError(f"extent of the tissue is {box.tolist()} m, expected (first, last) for x, y and z")
    if n_scatterers < 0:
        raise InputError(f"n_scatterers is {n_scatterers}, expected 0 or more")
    position = rng.uniform(box[:, 0], box[:, 1], size=(n_scatterers, 3))
    strength = rng.standard_normal(n_scatterers) * reflectivity
    return Tissue(position=position.astype(np.float32), reflectivity=strength.astype(np.float32))


@dataclass(frozen=True)
class TissueMotion:
    """Periodic motion to and fro on one line, the same for the whole field.

    Attributes
    ----------
    direction : (2,) float64
        Unit vector (x, z).
    amplitude, frequency, phase : (component,) float64
        Of the sine waves along that line, in m, Hz and rad: breathing, heartbeat, a slow drift.
    """

    direction: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    frequency: NDArray[np.float64]
    phase: NDArray[np.float64]


def random_motion(
    rng: np.random.Generator, *, amplitude: Sequence[float], frequency: Sequence[float]
) -> TissueMotion:
    """Motion with given amplitudes and frequencies, in a random direction and with random phases.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws direction and phases.
    amplitude, frequency : sequence of float
        In m and Hz, one of each per component; none for tissue at rest.

    Returns
    -------
    TissueMotion

    Raises
    ------
    InputError
        If their numbers differ.
    """
    if len(amplitude) != len(frequency):
        raise InputError(f"got {len(amplitude)} amplitudes and {len(frequency)} frequencies")
    angle = rng.uniform(0, 2 * pi)
    return TissueMotion(
        direction=np.array([np.cos(angle), np.sin(angle)]),
        amplitude=np.array(amplitude, dtype=np.float64),
        frequency=np.array(frequency, dtype=np.float64),
        phase=rng.uniform(0, 2 * pi, size=len(amplitude)),
    )


def motion_path(motion: TissueMotion, time: NDArray[np.floating]) -> NDArray[np.float64]:
    """Where on its line the tissue is, in m, at absolute times in s (block start + event).

    Returns
    -------
    (event,) float64
    """
    turns = 2 * pi * motion.frequency * np.asarray(time, dtype=np.float64)[..., None]
    return np.asarray(np.sum(motion.amplitude * np.sin(turns + motion.phase), axis=-1))


def rigid_drift(
    rng: np.random.Generator, *, n_blocks: int, maximum: float, memory: float
) -> NDArray[np.float64]:
    """Displacement of the whole field at each block: a smooth random walk.

    Its steps are a first-order autoregressive process, and the walk is scaled so that the farthest block lies
    at `maximum`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the walk; the same for every shard of a recording.
    n_blocks : int
        Number of blocks in the recording.
    maximum : float
        Greatest distance from block 0 in m.
    memory : float
        Number of blocks over which the walk keeps its direction.

    Returns
    -------
    (block, 2) float64
        (x, z) in m; block 0 is at 0.

    Raises
    ------
    InputError
        If `n_blocks` or `memory` is not positive or `maximum` negative.
    """
    if n_blocks < 1 or not memory > 0 or not maximum >= 0:
        given = f"{n_blocks} blocks, maximum {maximum} m, memory {memory} blocks"
        raise InputError(f"drift is over {given}; expected positive numbers")
    kept = np.exp(-1 / memory)
    walk = np.zeros((n_blocks, 2))
    step = rng.standard_normal(2)
    for block in range(1, n_blocks):
        walk[block] = walk[block - 1] + step
        step = kept * step + np.sqrt(1 - kept**2) * rng.standard_normal(2)
    farthest = np.linalg.norm(walk, axis=1).max()
    return walk * (maximum / farthest) if farthest > 0 else walk


def displace(position: NDArray[np.floating], displacement: NDArray[np.floating]) -> NDArray[np.floating]:
    """Shift positions in the image plane.

    Parameters
    ----------
    position : (…, point, 3) float
        x, y, z in m.
    displacement : (…, 2) float
        (x, z) in m for all points of an event.

    Returns
    -------
    (…, point, 3) float of the positions' dtype
    """
    shift = np.zeros((*np.shape(displacement)[:-1], 1, 3))
    shift[..., 0, [0, 2]] = displacement
    return (position + shift).astype(position.dtype)


def displacement_states(
    path: NDArray[np.floating], *, n_states: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Places on the path at which to simulate the tissue, and how to mix them at every event.

    Channel data are linear and band-limited, so that at any event they are ``Σ_state weight · data(state)``.
    The states are the Chebyshev points of the range of the path and the weights Lagrange's polynomials, whose
    error falls factorially with the number of states (`ulmpipe.displacement.count_states`).

    Parameters
    ----------
    path : (event,) float
        Position along the line of motion in m (`motion_path`) in one block.
    n_states : int
        Number of states; 1 is enough for tissue at rest only.

    Returns
    -------
    state : (n_states,) float64
        Positions along the line of motion in m.
    weight : (event, n_states) float32
        Each event's weights sum to 1.

    Raises
    ------
    InputError
        If there is no state.
    """
    if n_states < 1:
        raise InputError(f"n_states is {n_states}, expected 1 or more")
    middle, half = (np.max(path) + np.min(path)) / 2, (np.max(path) - np.min(path)) / 2
    node = -np.cos((np.arange(n_states) + 0.5) * pi / n_states)
    place = (np.asarray(path, dtype=np.float64) - middle) / (half if half > 0 else 1.0)
    weight = np.ones((len(place), n_states))
    for state, other in permutations(range(n_states), 2):
        weight[:, state] *= (place - node[other]) / (node[state] - node[other])
    return middle + half * node, weight.astype(np.float32)
