"""What the sections of the configuration describe, as the objects the physics works with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulmpipe.acoustics.probe import PlaneWaves, Probe
from ulmpipe.acoustics.receiver import noise_level, noise_response, receive_window
from ulmpipe.beamforming.das import Grid
from ulmpipe.displacement import TISSUE_ERROR, count_states
from ulmpipe.stages._parameters import Parameters


def probe_of(parameters: Parameters) -> Probe:
    """The probe of the section `probe`."""
    return Probe(**parameters["probe"])


def transmit_of(parameters: Parameters) -> PlaneWaves:
    """The plane waves of the section `sequence`."""
    sequence = parameters["sequence"]
    return PlaneWaves(
        angles=tuple(np.deg2rad(sequence["angles_deg"])),
        transmit_frequency=sequence["transmit_frequency"],
        n_cycles=sequence["n_cycles"],
    )


def square_grid(*, width: float, height: float, depth: float, lateral: float = 0.0, pixel: float) -> Grid:
    """Grid of a rectangle centred at (`lateral`, `depth`), whole pixels."""

    def axis(centre: float, length: float) -> NDArray[np.float64]:
        n_pixels = round(length / pixel)
        return np.asarray(centre + (np.arange(n_pixels) - (n_pixels - 1) / 2) * pixel)

    return Grid(x=axis(lateral, width), z=axis(depth, height))


def fine_axis(axis: NDArray[np.float64], upsampling: int) -> NDArray[np.float64]:
    """Centres of the fine pixels that tile the pixels of `axis`."""
    pixel = axis[1] - axis[0]
    offsets = (np.arange(upsampling) - (upsampling - 1) / 2) / upsampling * pixel
    fine: NDArray[np.float64] = (axis[:, None] + offsets).ravel()
    return fine


def fine_geometry(attributes: Parameters, upsampling: int) -> dict[str, Any]:
    """Spacing and origin of the fine grid over an array of images, from that array's own."""
    spacing, origin = attributes["spacing"], attributes["origin"]
    first = (upsampling - 1) / (2 * upsampling)
    return {
        "spacing": {axis: spacing[axis] / upsampling for axis in ("z", "x")},
        "origin": {axis: origin[axis] - first * spacing[axis] for axis in ("z", "x")},
    }


def extent_of(images: Any) -> tuple[float, float, float, float]:
    """Left, right, upper and lower edge of the images of an array (…, z, x), m."""
    spacing, origin = images.attrs["spacing"], images.attrs["origin"]
    n_z, n_x = images.shape[-2:]
    left, top = origin["x"] - spacing["x"] / 2, origin["z"] - spacing["z"] / 2
    return left, left + n_x * spacing["x"], top, top + n_z * spacing["z"]


def carrier_wavenumber(parameters: Parameters) -> float:
    """Wavenumber of the carrier that filtered images and correlation maps are freed of, rad/m."""
    return (
        2 * np.pi * parameters["sequence"]["demodulation_frequency"] / parameters["medium"]["speed_of_sound"]
    )


def states_of(parameters: Parameters, *, half_range: float) -> int:
    """How many displacement states stand for tissue that moves so far (m) to either side, to −60 dB."""
    probe = parameters["probe"]
    highest_frequency = probe["center_frequency"] * (1 + probe["bandwidth"] / 2)
    wavenumber = 2 * np.pi * highest_frequency / parameters["medium"]["speed_of_sound"]
    return count_states(half_range=half_range, wavenumber=wavenumber, error=TISSUE_ERROR)


def receiving(parameters: Parameters) -> dict[str, Any]:
    """Keyword arguments that simulation and beamforming share."""
    return {
        "sampling_frequency": parameters["sequence"]["sampling_frequency"],
        "demodulation_frequency": parameters["sequence"]["demodulation_frequency"],
        "speed_of_sound": parameters["medium"]["speed_of_sound"],
    }


def simulating(parameters: Parameters) -> dict[str, Any]:
    """Keyword arguments of every simulation."""
    return {"attenuation": parameters["medium"]["attenuation"], **receiving(parameters)}


def noise_of(parameters: Parameters, *, n_samples: int) -> dict[str, Any] | None:
    """Keyword arguments of `receiver_noise` for records of `n_samples`: what the section `noise` asks for, if any."""
    probe, noise = probe_of(parameters), parameters["noise"]
    if noise["snr_db"] is None:
        return None
    level = noise_level(probe, transmit_of(parameters), snr_db=noise["snr_db"], **simulating(parameters))
    if noise["band"] == "sampled":
        return {"root_mean_square": level}
    sequence = parameters["sequence"]
    response = noise_response(
        probe,
        n_samples=n_samples,
        sampling_frequency=sequence["sampling_frequency"],
        demodulation_frequency=sequence["demodulation_frequency"],
    )
    return {"root_mean_square": level, "response": response}


def focusing(parameters: Parameters) -> dict[str, Any]:
    """Keyword arguments of beamforming alone."""
    names = ("f_number", "apodization", "lens_correction", "oversampling")
    return {name: parameters["beamforming"][name] for name in names}


def window_of(
    parameters: Parameters,
    *,
    half_width: float,
    depth: float,
    half_height: float,
    half_thickness: float,
    lateral: float = 0.0,
) -> tuple[float, int]:
    """Start time and number of samples of a record that holds every echo of a box."""
    return receive_window(
        probe_of(parameters),
        transmit_of(parameters),
        lateral_range=(lateral - half_width, lateral + half_width),
        depth_range=(depth - half_height, depth + half_height),
        elevation_half_width=half_thickness,
        sampling_frequency=parameters["sequence"]["sampling_frequency"],
        speed_of_sound=parameters["medium"]["speed_of_sound"],
    )
