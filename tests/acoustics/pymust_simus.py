"""PyMUST's `simus` as the tests call it: 3-D, a fine frequency step, its amplitude scaled to ours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, Probe

pymust = pytest.importorskip("pymust")


@dataclass(frozen=True)
class Echoes:
    """RF (element, time) from t = 0 at `rate` Hz; spectrum (element, frequency), from 0 in steps of `step` Hz."""

    radio_frequency: np.ndarray
    rate: float
    spectrum: np.ndarray
    step: float


def pymust_echoes(
    positions: np.ndarray,
    reflectivity: np.ndarray,
    probe: Probe,
    transmit: PlaneWaves,
    *,
    speed_of_sound: float,
    attenuation: float = 0.0,
    frequency_step: float = 0.1,
    own_directivity: bool = True,
    n_subelements: int | None = None,
) -> Echoes:
    """Echoes of the first wave. PyMUST has one frequency for pulse and probe, and is 2-D where all y are 0.

    `frequency_step` is a fraction of PyMUST's own; `own_directivity`: that of every frequency instead of the
    centre frequency's; `n_subelements` None leaves their number to PyMUST.
    """
    assert probe.center_frequency == transmit.transmit_frequency
    param = pymust.utils.Param()
    param.fc, param.fs, param.c = probe.center_frequency, 4 * probe.center_frequency, speed_of_sound
    param.pitch, param.width, param.height = probe.pitch, probe.width, probe.height
    param.focus, param.Nelements = probe.elevation_focus, probe.n_elements
    param.bandwidth, param.baffle = 100 * probe.bandwidth, probe.baffle
    param.TXnow, param.attenuation = transmit.n_cycles, attenuation
    param.radius = np.inf
    options = pymust.utils.Options()
    options.FrequencyStep, options.ElementSplitting = frequency_step, n_subelements
    options.FullFrequencyDirectivity = own_directivity
    delays = transmit.delays(probe, speed_of_sound=speed_of_sound)[:1]
    x, y, z = (np.ascontiguousarray(column)[None, :] for column in positions.T)
    signals, spectrum = pymust.simus(x, y, z, reflectivity[None, :], delays, param, options)
    step = 2 * probe.center_frequency / (len(spectrum) - 1)
    return Echoes(np.asarray(signals).T * param.fs / step, param.fs, spectrum.T / step, step)
