"""The imaging system's point spread function, from the probe and the sequence alone.

One scatterer is simulated and beamformed by the very functions that make the data: whatever they do to a
bubble they do to the reference it is correlated with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ulmpipe.beamforming.das import Grid, delay_and_sum
from ulmpipe.correlation import remove_carrier
from ulmpipe.errors import InputError

if TYPE_CHECKING:
    from ulmpipe.acoustics.probe import PlaneWaves, Probe


def point_spread_function(
    probe: Probe,
    transmit: PlaneWaves,
    *,
    grid_step: float,
    shape: tuple[int, int],
    depth: float,
    wavenumber: float,
    start_time: float,
    n_samples: int,
    sampling_frequency: float,
    demodulation_frequency: float,
    speed_of_sound: float,
    attenuation: float = 0.0,
    f_number: float = 0.0,
    apodization: str = "rectangular",
    lens_correction: bool = False,
    oversampling: int = 4,
    backend: str = "auto",
) -> NDArray[np.complex64]:
    """Image of one scatterer at (0, 0, depth), carrier removed, of unit energy.

    Parameters
    ----------
    probe, transmit
        The imaging system.
    grid_step
        Pixel size, m, the same in z and x: that of the images to correlate with.
    shape
        (z, x) pixels, both odd: the scatterer is in the middle of the middle pixel.
    depth
        Of the scatterer, m.
    wavenumber
        rad/m, of the carrier, as given to `correlation.remove_carrier` for the images.
    start_time, n_samples, sampling_frequency, demodulation_frequency
        Of the record, as in `acoustics.simulate_channel_data`.
    speed_of_sound, attenuation
        Of the medium, as in `acoustics.simulate_channel_data`.
    f_number, apodization, lens_correction, oversampling
        As in `delay_and_sum`.
    backend
        "auto", "cpu" or "gpu", for both.

    Returns
    -------
    (z, x) complex64, sum of |psf|² = 1.

    Raises
    ------
    InputError
        An even or empty shape, or a record that does not hold the scatterer's echo.

    """
    from ulmpipe.acoustics import simulate_channel_data

    if any(side < 1 or side % 2 == 0 for side in shape):
        raise InputError(f"point spread function shape: {shape}, expected two odd numbers of pixels")
    channel_data = simulate_channel_data(
        np.array([[[0.0, 0.0, depth]]]),
        np.ones(1),
        probe,
        transmit,
        start_time=start_time,
        n_samples=n_samples,
        sampling_frequency=sampling_frequency,
        demodulation_frequency=demodulation_frequency,
        speed_of_sound=speed_of_sound,
        attenuation=attenuation,
        backend=backend,
    )
    z, x = (grid_step * np.arange(-(side // 2), side // 2 + 1, dtype=np.float64) for side in shape)
    image = delay_and_sum(
        channel_data,
        Grid(x=x, z=depth + z),
        probe,
        transmit,
        start_time=start_time,
        sampling_frequency=sampling_frequency,
        demodulation_frequency=demodulation_frequency,
        speed_of_sound=speed_of_sound,
        f_number=f_number,
        apodization=apodization,
        lens_correction=lens_correction,
        oversampling=oversampling,
        backend=backend,
    )
    spot = remove_carrier(image, z, wavenumber=wavenumber)[0]
    energy = float(np.sum(np.abs(spot.astype(np.complex128)) ** 2))
    if not energy > 0:
        raise InputError(
            f"point spread function depth: {depth} m, expected one whose echo lies in the record "
            f"({n_samples} samples from {start_time} s)"
        )
    return (spot / np.sqrt(energy)).astype(np.complex64)
