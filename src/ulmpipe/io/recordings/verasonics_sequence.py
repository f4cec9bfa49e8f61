"""How a Verasonics receive buffer was filled: rows of each acquisition, sampling, angles, start time.

Sampling, with D = Receive.decimSampleRate and the carrier f_d:

=========  =======================  ===============================================================
NS200BW    f_d = D/4                every 1/D: 4 samples a period
BS100BW    f_d = D/4                pairs 1/D apart, one each period 1/f_d: 2 samples a period
BS50BW     f_d = D/4                pairs 1/D apart, one each second period
BS67BW     f_d = 3D/4               every 1/D: 4/3 samples a period
custom     Receive.demodFrequency   every 1/D
=========  =======================  ===============================================================

Times: sampling begins 2 startDepth periods of Trans.frequency after the zero of the transmit delays; the pulse's
centre is TW.peak periods after its beginning, and the lens delays by Trans.lensCorrection on each way. The receiver's
digital filters are taken as without delay. Hence, in wavelengths,
start_time = (2 startDepth - min TX.Delay - TW.peak - 2 lensCorrection) / Trans.frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulmpipe.errors import InputError
from ulmpipe.io.recordings.baseband import decimation, pairs_to_baseband, rf_to_baseband, widest_band
from ulmpipe.io.recordings.description import missing
from ulmpipe.io.recordings.geometry import plane_wave_angle
from ulmpipe.io.recordings.matlab import Structure, number, vector
from ulmpipe.io.recordings.verasonics_workspace import Workspace

PERIODS_PER_PAIR = {"BS100BW": 1, "BS50BW": 2}
EVENLY_SPACED = ("NS200BW", "BS67BW", "custom")
# For files that say samplesPerWave alone: the mode, and D over it and Trans.frequency.
MODES_BY_SAMPLES = {4.0: "NS200BW", 2.0: "BS100BW", 4 / 3: "BS67BW", 1.0: "BS50BW"}
RATE_BY_SAMPLES = {"BS100BW": 2, "BS50BW": 4}
ACCUMULATE = 1  # Receive.mode: added to the samples that are there, as averages and pulse inversion are made
STEER_TOLERANCE = 3e-3  # rad, between TX.Steer and the delays
SAME_DELAY = 1e-3  # wavelengths


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a buffer was sampled.

    Parameters
    ----------
    mode
        Receive.sampleMode.
    rate
        Receive.decimSampleRate, Hz.
    demodulation_frequency
        The carrier, Hz.
    bandwidth
        That is kept of evenly spaced samples, Hz; None: all that they hold.
    """

    mode: str
    rate: float
    demodulation_frequency: float
    bandwidth: float | None

    @property
    def step(self) -> int:
        """Number of stored samples for each complex one."""
        if self.mode in PERIODS_PER_PAIR:
            return 2
        band = widest_band(sampling_frequency=self.rate, demodulation_frequency=self.demodulation_frequency)
        return decimation(self.rate, min(band, self.bandwidth or band))

    @property
    def complex_rate(self) -> float:
        """Complex samples a second."""
        if self.mode in PERIODS_PER_PAIR:
            return self.demodulation_frequency / PERIODS_PER_PAIR[self.mode]
        return self.rate / self.step

    def baseband(self, samples: NDArray[np.float32], start_time: float) -> NDArray[np.complex64]:
        """Of samples (…, time) as stored."""
        if self.mode in PERIODS_PER_PAIR:
            return pairs_to_baseband(
                samples,
                start_time=start_time,
                demodulation_frequency=self.demodulation_frequency,
                periods_per_pair=PERIODS_PER_PAIR[self.mode],
            )[0]
        return rf_to_baseband(
            samples,
            start_time=start_time,
            sampling_frequency=self.rate,
            demodulation_frequency=self.demodulation_frequency,
            bandwidth=self.bandwidth,
        )[0]


@dataclass(frozen=True, kw_only=True)
class Acquisitions:
    """Of one frame of the buffer: index in Receive of each, its first row (from 0), and the rows of each."""

    receive: tuple[int, ...]
    first_row: tuple[int, ...]
    n_rows: int


def acquisitions_of(workspace: Workspace, buffer: int) -> Acquisitions:
    """Those of the first frame of a buffer (from 1), in the order of acqNum; sums are one acquisition.

    Raises
    ------
    InputError
        None, or of different lengths.
    """
    receive = workspace.need("Receive")
    found: list[tuple[float, int, int, int]] = []
    for index in range(len(receive)):
        if (number(receive, "bufnum", index) or 1) != buffer:
            continue
        if (number(receive, "framenum", index) or 1) != 1:
            if found:
                break  # the further frames are like the first
            continue
        if number(receive, "mode", index) == ACCUMULATE:
            continue
        order = number(receive, "acqNum", index)
        start, end = (
            int(workspace.need_number("Receive", field, index)) for field in ("startSample", "endSample")
        )
        found.append((len(found) + 1 if order is None else order, index, start - 1, end - start + 1))
    if not found:
        raise InputError(
            f"{workspace.path}: Receive has nothing for buffer {buffer}, expected bufnum {buffer}"
        )
    found.sort()
    lengths = {n_rows for *_, n_rows in found}
    if len(lengths) > 1 or min(lengths) < 1:
        raise InputError(
            f"{workspace.path}: Receive has acquisitions of {sorted(lengths)} samples, expected all alike"
        )
    return Acquisitions(
        receive=tuple(index for _, index, _, _ in found),
        first_row=tuple(row for *_, row, _ in found),
        n_rows=lengths.pop(),
    )


def frames_in_turn(workspace: Workspace, buffer: int, n_frames: int) -> tuple[int, ...]:
    """Frames of a buffer (from 1) as they came: it is filled in circles, and lastFrame may lie anywhere.

    What the samples' own file says counts, not that of the structures, which may be of another run.
    """
    resource = workspace.data.structure("Resource")
    buffers = None if resource is None else resource.get("RcvBuffer")
    last = number(buffers, "lastFrame", buffer - 1) or 0
    return tuple((index + int(last)) % n_frames for index in range(n_frames))


def sampling_of(workspace: Workspace, receive: int) -> Sampling:
    """How an acquisition was sampled.

    Raises
    ------
    InputError
        A mode that is not supported, or rates that contradict it.
    """
    path, structure, bandwidth = workspace.path, workspace.need("Receive"), workspace.description.bandwidth
    mode, per_wave = structure.get("sampleMode", receive), number(structure, "samplesPerWave", receive)
    if not isinstance(mode, str):
        near = [name for value, name in MODES_BY_SAMPLES.items() if per_wave and abs(per_wave - value) < 0.01]
        if not near:
            raise InputError(
                f"{path}: Receive.sampleMode is missing, expected NS200BW, BS100BW, BS67BW or BS50BW"
            )
        mode = near[0]
    if mode not in (*PERIODS_PER_PAIR, *EVENLY_SPACED):
        expected = ", ".join((*EVENLY_SPACED, *PERIODS_PER_PAIR))
        raise InputError(f"{path}: Receive.sampleMode is {mode}, expected one of {expected}")
    rate = number(structure, "decimSampleRate", receive)
    if rate is not None:
        rate *= 1e6
    elif per_wave is not None:
        rate = per_wave * RATE_BY_SAMPLES.get(mode, 1) * workspace.frequency
    else:
        raise InputError(f"{path}: Receive.decimSampleRate is missing, expected MHz")
    stored = number(structure, "demodFrequency", receive)
    if mode == "custom" and stored is None:
        raise InputError(f"{path}: Receive.demodFrequency is missing, expected MHz, as sampleMode is custom")
    carrier = 1e6 * (stored or 0) if mode == "custom" else rate * (0.75 if mode == "BS67BW" else 0.25)
    if stored is not None and abs(1e6 * stored - carrier) > 1e-3 * carrier:
        raise InputError(
            f"{path}: Receive.demodFrequency is {stored} MHz, expected {carrier / 1e6:g} for {mode} and "
            f"decimSampleRate {rate / 1e6:g}"
        )
    return Sampling(mode=mode, rate=rate, demodulation_frequency=carrier, bandwidth=bandwidth)


def angles_of(workspace: Workspace, acquisitions: Acquisitions) -> tuple[list[float], list[int]]:
    """Angles of a frame, rad, and their indices in TX; a frame ends where the transmissions repeat.

    Raises
    ------
    InputError
        No TX and no angles in the description, transmissions that are not plane waves or do not repeat.
    """
    path, transmit = workspace.path, workspace.structure("TX")
    n_acquisitions, described = len(acquisitions.receive), workspace.description.facts.angles
    if transmit is None:
        if described is None:
            raise missing(str(path), "angles", "TX.Steer in the file")
        _check_repeats(workspace, n_acquisitions, len(described))
        return list(described), []
    sequence = _transmit_of_each(workspace, acquisitions, len(transmit))
    angle_of = {index: _angle(workspace, transmit, index) for index in set(sequence)}
    steered = [angle_of[index] for index in sequence]
    period = next(
        n
        for n in range(1, n_acquisitions + 1)
        if n_acquisitions % n == 0 and all(steered[i] == steered[i % n] for i in range(n_acquisitions))
    )
    if len(set(steered[:period])) < period and described is None:
        raise InputError(
            f"{path}: TX.Steer: {n_acquisitions} acquisitions of {len(set(steered))} angles, expected these in turn, "
            "or angles of one frame in the description"
        )
    return steered[:period], sequence[:period]


def _check_repeats(workspace: Workspace, n_acquisitions: int, n_transmits: int) -> None:
    if n_acquisitions % n_transmits:
        raise InputError(
            f"{workspace.path}: Receive has {n_acquisitions} acquisitions a frame, expected a multiple of the "
            f"{n_transmits} transmissions"
        )


def _transmit_of_each(workspace: Workspace, acquisitions: Acquisitions, n_transmits: int) -> list[int]:
    """Index in TX of each acquisition: by Event, or in turn."""
    n_acquisitions, events = len(acquisitions.receive), workspace.structure("Event")
    if events is not None:
        sent: dict[int, int] = {}
        for event in range(len(events)):
            receive, transmit = number(events, "rcv", event), number(events, "tx", event)
            if receive and transmit:
                sent.setdefault(int(receive) - 1, int(transmit) - 1)
            if len(sent) > max(acquisitions.receive):
                break
        if all(index in sent for index in acquisitions.receive):
            return [sent[index] for index in acquisitions.receive]
    _check_repeats(workspace, n_acquisitions, n_transmits)
    return [index % n_transmits for index in range(n_acquisitions)]


def _angle(workspace: Workspace, transmit: Structure, index: int) -> float:
    """Of TX.Steer, which the delays must confirm, or of these alone."""
    name = f"{workspace.path}: TX({index + 1})"
    steer, delay = vector(transmit, "Steer", index), vector(transmit, "Delay", index)
    places, speed = workspace.element_positions, workspace.speed
    by_delay = None
    if delay is not None and places is not None and speed is not None and len(delay) == len(places):
        apodization = vector(transmit, "Apod", index)
        fires = np.ones(len(delay), bool)
        if apodization is not None and len(apodization) == len(delay):
            fires = apodization != 0
        by_delay = plane_wave_angle(
            delay[fires] / workspace.frequency, places[fires, 0], speed_of_sound=speed, source=f"{name}.Delay"
        )
    if steer is None and by_delay is None:
        raise InputError(f"{name}.Steer is missing, expected the angle in radians")
    if steer is None:
        return float(by_delay or 0.0)
    if by_delay is not None and abs(steer[0] - by_delay) > STEER_TOLERANCE:
        raise InputError(f"{name}.Steer is {steer[0]:.5g} rad, expected {by_delay:.5g} as TX.Delay has it")
    return float(steer[0])


def start_time_of(workspace: Workspace, receive: int, transmits: list[int]) -> float:
    """Of the first sample, s, from the moment the pulse's centre leaves the first element that fires.

    Raises
    ------
    InputError
        Something of the formula above that is missing while the description has no start time either, or delays
        that begin at different times.
    """
    path, transmit, pulses = workspace.path, workspace.structure("TX"), workspace.structure("TW")
    described = workspace.description.facts.start_time
    waveform = number(transmit, "waveform", transmits[0]) if transmits else None
    parts = {
        "Receive.startDepth": number(workspace.need("Receive"), "startDepth", receive),
        "TW.peak": number(pulses, "peak", int(waveform or 1) - 1),
        "Trans.lensCorrection": number(workspace.need("Trans"), "lensCorrection"),
    }
    for name, value in parts.items():
        if value is None and described is None:
            raise InputError(
                f"{path}: {name} is missing, expected it in the file, or start_time in the description"
            )
    depth, peak, lens = parts.values()
    if depth is None or peak is None or lens is None:
        return float(described or 0.0)
    if workspace.array_unit is None or workspace.speed is None:
        raise missing(str(path), "speed_of_sound", "Resource.Parameters.speedOfSound in the file")
    delays = [vector(transmit, "Delay", index) for index in transmits] if transmit is not None else []
    first = [float(delay.min()) for delay in delays if delay is not None] or [0.0]
    if max(first) - min(first) > SAME_DELAY:
        raise InputError(f"{path}: TX.Delay begins at {first} wavelengths, expected the same for all angles")
    in_periods = (2 * depth - min(first) - peak) / workspace.frequency
    return (
        in_periods
        - 2 * lens * workspace.array_unit / workspace.speed
        + (workspace.description.time_offset or 0.0)
    )
