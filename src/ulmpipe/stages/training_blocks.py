"""Stages 3 to 7 for the training volumes: bubbles in tissue, imaged and filtered, and their targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.receiver import receiver_noise
from ulmpipe.beamforming.das import Grid, delay_and_sum
from ulmpipe.correlation import remove_carrier
from ulmpipe.device import array_module
from ulmpipe.imaging import simulate_image
from ulmpipe.io.stores import new_array, new_store, open_store, provenance, writing_behind
from ulmpipe.phantom import (
    TissueMotion,
    displace,
    displacement_states,
    motion_path,
    random_motion,
    random_rotation,
    rotate,
    tissue_scatterers,
)
from ulmpipe.progress import progress
from ulmpipe.randomness import generator
from ulmpipe.stages._bubbles import PER_MM3, read_bubbles, read_reflectivity
from ulmpipe.stages._clutter import filter_clutter
from ulmpipe.stages._maps import maps_of, new_maps
from ulmpipe.stages._parameters import Parameters, event_times
from ulmpipe.stages._scan import (
    fine_axis,
    focusing,
    noise_of,
    probe_of,
    receiving,
    simulating,
    square_grid,
    transmit_of,
    window_of,
)
from ulmpipe.stages._visibility import Slice, slice_of
from ulmpipe.targets import count_windows, timed_track_map

NOISE_FRAMES = 256  # beamformed once; each frame of a block is one of them with a random phase


def run(parameters: Parameters, *, trajectories: Path, point_spread: Path, blocks: Path) -> None:
    """Make one shard of blocks; block by block independent of the sharding."""
    bubbles = open_store(trajectories, "position", "rank")
    psf = open_store(point_spread, "point_spread")["point_spread"]
    training, upsampling = parameters["training_set"], parameters["targets"]["upsampling"]
    n_blocks, window = parameters["n_blocks"], training["window"]
    n_frames = parameters["sequence"]["frames_per_block"]
    with new_store(
        blocks, provenance=provenance("training_blocks", parameters, trajectories, point_spread)
    ) as store:
        pixel = parameters["beamforming"]["pixel"]
        shape = (n_blocks, n_frames, window, window)
        maps = new_maps(store, parameters["maps"], shape, spacing={"z": pixel, "x": pixel})
        tracks = new_array(
            store,
            "tracks",
            shape=(n_blocks, window * upsampling, window * upsampling),
            dtype="bool",
            dims=("block", "z", "x"),
            units="1",
            spacing={"z": pixel / upsampling, "x": pixel / upsampling},
        )
        timed_tracks = new_array(
            store,
            "timed_tracks",
            shape=(n_blocks, count_windows(n_frames), window * upsampling, window * upsampling),
            dtype="uint8",
            dims=("block", "window", "z", "x"),
            units="1",
            spacing={"z": pixel / upsampling, "x": pixel / upsampling},
        )
        numbers = range(parameters["first_block"], parameters["first_block"] + n_blocks)
        store.attrs["group"] = [group_of(parameters, block) for block in numbers]
        if parameters["validation"]:
            store.attrs["concentration_per_mm3"] = [
                _validation_concentration(parameters, block) for block in numbers
            ]
        made = _blocks(parameters, bubbles, psf)
        with writing_behind() as write:
            for block, (looked_at, target) in enumerate(
                progress(made, f"blocks of {parameters['name']}", total=n_blocks)
            ):
                for name, array in maps.items():
                    write(array, block, looked_at[name])
                write(tracks, block, target.any(axis=0))
                write(timed_tracks, block, target)


@dataclass(frozen=True)
class Placement:
    """One random placement of a volume before the probe, shared by a few blocks."""

    rotation: NDArray[np.float64]
    lateral: float  # of the volume's centre, m
    depth: float
    grid: Grid
    motion: TissueMotion

    @property
    def centre(self) -> NDArray[np.float32]:
        """Of the volume, x, y, z."""
        return np.array([self.lateral, 0.0, self.depth], np.float32)


@dataclass(frozen=True)
class PlacedBubbles:
    """Bubbles of a block before the probe, in the frame of the tissue at rest, and the path of the tissue."""

    concentration_per_mm3: float
    position: NDArray[np.floating]  # (event, bubble, 3)
    velocity: NDArray[np.floating]  # of the same shape, against the tissue
    path: NDArray[np.float64]  # (event,) along the placement's line of motion

    def where_seen(self, placement: Placement) -> NDArray[np.floating]:
        """Positions with the tissue where it is on average, as registered maps have them."""
        return displace(self.position, self.path.mean() * placement.motion.direction)


@dataclass(frozen=True)
class _Scene:
    """What a placement's blocks have in common besides the bubbles."""

    placement: Placement
    box: NDArray[np.float64]  # half sides of what is simulated
    tissue_images: Any  # (state, z, x), or None
    noise_images: Any  # (frame, z, x), or None
    simulate: Any  # simulate_image of this placement's grid and record


def group_of(parameters: Parameters, block: int) -> int:
    """Which placement a block has; validation blocks have placements of their own."""
    training = parameters["training_set"]
    if not parameters["validation"]:
        return int(block // training["blocks_per_rotation"])
    n_blocks = training["blocks_per_volume"]
    n_placements = -(-n_blocks // training["blocks_per_rotation"])
    return int(n_placements + (block - n_blocks) // training["validation_blocks_per_rotation"])


def _validation_concentration(parameters: Parameters, block: int) -> float:
    """Bubbles/mm³ of a validation block: placements have those of the configuration in turn."""
    training = parameters["training_set"]
    placement = (block - training["blocks_per_volume"]) // training["validation_blocks_per_rotation"]
    concentrations = training["validation_concentrations_per_mm3"]
    return float(concentrations[placement % len(concentrations)])


def _echo_level(parameters: Parameters, block: int) -> np.float32:
    """Echoes of a block's bubbles over their nominal strength; those of validation blocks have it."""
    if parameters["validation"]:
        return np.float32(1)
    rng = generator(parameters["seed"], "echo_level", parameters["name"], block)
    return np.float32(10 ** (rng.uniform(-1, 1) * parameters["training_set"]["echo_spread_db"] / 20))


def _blocks(
    parameters: Parameters, bubbles: Any, psf: Any
) -> Iterator[tuple[dict[str, NDArray[np.float16]], NDArray[np.uint8]]]:
    scene, group = None, -1
    visible = slice_of(parameters)
    for block in range(parameters["first_block"], parameters["first_block"] + parameters["n_blocks"]):
        if scene is None or group_of(parameters, block) != group:
            group = group_of(parameters, block)
            scene = _scene(parameters, group)
        yield _block(parameters, scene, visible, bubbles, psf, block)


def placement_generator(parameters: Parameters, group: int) -> np.random.Generator:
    """Draws a placement first, then its tissue and noise."""
    return generator(parameters["seed"], "placement", parameters["name"], group)


def block_generator(parameters: Parameters, block: int) -> np.random.Generator:
    """Draws what `place_bubbles` asks for first, then the rest of a block."""
    return generator(parameters["seed"], "training_block", parameters["name"], block)


def draw_placement(parameters: Parameters, rng: np.random.Generator) -> Placement:
    """Rotation, position and motion of the volume of a group of blocks."""
    training, tissue, pixel = (
        parameters["training_set"],
        parameters["tissue"],
        parameters["beamforming"]["pixel"],
    )
    rotation = random_rotation(rng)
    lateral = rng.uniform(-1, 1) * training["lateral_offset"]
    depth = parameters["probe"]["elevation_focus"] + rng.uniform(-1, 1) * training["depth_offset"]
    width = training["window"] * pixel
    return Placement(
        rotation=rotation,
        lateral=lateral,
        depth=depth,
        grid=square_grid(width=width, height=width, lateral=lateral, depth=depth, pixel=pixel),
        motion=random_motion(
            rng, amplitude=[tissue["motion_amplitude"]], frequency=[tissue["motion_frequency"]]
        ),
    )


def place_bubbles(
    parameters: Parameters, placement: Placement, bubbles: Any, block: int, rng: np.random.Generator
) -> PlacedBubbles:
    """Bubbles of a block from a store of trajectories, turned and put before the probe."""
    training = parameters["training_set"]
    concentration = (
        _validation_concentration(parameters, block)
        if parameters["validation"]
        else float(rng.choice(training["concentrations_per_mm3"]))
    )
    drawn = read_bubbles(bubbles, block, concentration_per_mm3=concentration)
    start = rng.uniform(0, 1 / parameters["tissue"]["motion_frequency"])
    return PlacedBubbles(
        concentration_per_mm3=concentration,
        position=rotate(drawn.position, placement.rotation) + placement.centre,
        velocity=rotate(drawn.velocity, placement.rotation),
        path=motion_path(placement.motion, event_times(parameters).ravel() + start),
    )


def _scene(parameters: Parameters, group: int) -> _Scene:
    rng = placement_generator(parameters, group)
    placement = draw_placement(parameters, rng)
    probe, transmit, training = probe_of(parameters), transmit_of(parameters), parameters["training_set"]
    pixel, tissue = parameters["beamforming"]["pixel"], parameters["tissue"]
    width = training["window"] * pixel
    # a rotated cube reaches half its diagonal, and what leaves the window's surroundings is not simulated
    box = np.array(
        [width / 2 + tissue["margin"], parameters["side"] * np.sqrt(3) / 2, width / 2 + tissue["margin"]]
    )
    start_time, n_samples = window_of(
        parameters,
        lateral=placement.lateral,
        depth=placement.depth,
        half_width=box[0] + tissue["motion_amplitude"],
        half_height=box[2] + tissue["motion_amplitude"],
        half_thickness=box[1],
    )
    simulate = partial(
        simulate_image,
        grid=placement.grid,
        probe=probe,
        transmit=transmit,
        start_time=start_time,
        n_samples=n_samples,
        **focusing(parameters),
        **simulating(parameters),
    )
    tissue_images = None
    if tissue["reflectivity_db"] is not None:
        half_side = np.array([box[0], parameters["side"] / 2, box[2]])
        extent = placement.centre[:, None] + half_side[:, None] * np.array([-1.0, 1.0])
        scatterers = tissue_scatterers(
            rng,
            n_scatterers=round(tissue["density_per_mm3"] * PER_MM3 * np.prod(np.ptp(extent, axis=1))),
            extent=extent,
            reflectivity=10 ** (tissue["reflectivity_db"] / 20),
        )
        states, _ = _states(parameters, np.zeros(1))
        moved = displace(scatterers.position[None], states[:, None] * placement.motion.direction)
        tissue_images = simulate(positions=moved, reflectivity=scatterers.reflectivity)
    noise_images, noise = None, noise_of(parameters, n_samples=n_samples)
    if noise is not None:
        shape = (NOISE_FRAMES, len(transmit.angles), probe.n_elements, n_samples)
        noise_images = delay_and_sum(
            receiver_noise(rng, shape, **noise),
            placement.grid,
            probe,
            transmit,
            start_time=start_time,
            **focusing(parameters),
            **receiving(parameters),
        )
    return _Scene(placement, box, tissue_images, noise_images, simulate)


def _states(
    parameters: Parameters, path: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Displacement states over the whole range of the motion, and the weights of the events of `path`."""
    tissue = parameters["tissue"]
    ends = np.array([-1.0, 1.0]) * tissue["motion_amplitude"]
    states, weights = displacement_states(np.concatenate([path, ends]), n_states=tissue["n_states"])
    return states, weights[: len(path)]


def _block(
    parameters: Parameters, scene: _Scene, visible: Slice, bubbles: Any, psf: Any, block: int
) -> tuple[dict[str, NDArray[np.float16]], NDArray[np.uint8]]:
    rng, placement = block_generator(parameters, block), scene.placement
    placed = place_bubbles(parameters, placement, bubbles, block, rng)
    position, path, concentration = placed.position, placed.path, placed.concentration_per_mm3
    times = event_times(parameters)
    moving = displace(position, path[:, None] * placement.motion.direction)
    inside = np.all(np.abs(position - placement.centre) < scene.box, axis=-1, keepdims=True)
    seen = np.where(inside, moving, np.float32(np.nan)).reshape(*times.shape, -1, 3)
    reflectivity = read_reflectivity(parameters, bubbles, block, concentration_per_mm3=concentration)
    reflectivity = reflectivity * _echo_level(parameters, block)
    iq = scene.simulate(positions=seen, reflectivity=reflectivity)
    xp = array_module(iq)
    if scene.tissue_images is not None:
        # within a frame tissue moves by nanometres: one state a frame, that of its middle angle
        _, weights = _states(parameters, path.reshape(times.shape)[:, times.shape[1] // 2])
        iq += xp.tensordot(xp.asarray(weights), scene.tissue_images, axes=1)
    if scene.noise_images is not None:
        chosen = rng.integers(NOISE_FRAMES, size=len(iq))
        phase = np.exp(2j * np.pi * rng.random(len(iq))).astype(np.complex64)
        iq += xp.asarray(scene.noise_images[chosen] * phase[:, None, None])

    filtered = filter_clutter(parameters, iq, rng).images
    at_baseband = remove_carrier(filtered, placement.grid.z, wavenumber=psf.attrs["wavenumber"])
    upsampling = parameters["targets"]["upsampling"]
    target = timed_track_map(
        placed.where_seen(placement),
        visible.holds(position),
        x=fine_axis(placement.grid.x, upsampling),
        z=fine_axis(placement.grid.z, upsampling),
        n_frames=parameters["sequence"]["frames_per_block"],
    )
    return dict(maps_of(parameters["maps"], at_baseband, psf[0])), target
