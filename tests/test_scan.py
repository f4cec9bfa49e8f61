"""What the configuration says of probe, sequence, medium and noise is what the simulator does: a lone bubble's echo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ulmpipe.acoustics.receiver import receiver_noise
from ulmpipe.acoustics.simus import simulate_channel_data
from ulmpipe.configuration import check_configuration, read_yaml
from ulmpipe.stages._scan import noise_of, probe_of, simulating, transmit_of, window_of

DEFAULT = read_yaml(Path(__file__).parents[1] / "config/config.yaml")
SPEED_OF_SOUND, CARRIER, DEPTH = 1540.0, 15.625e6, 8e-3
FLAT = 1.99  # a bandwidth so wide that the probe does not filter
OFF_CENTRE = 20  # an element 4.35 mm from the middle of 128


def configured(**changes: dict[str, Any]) -> dict[str, Any]:
    """What a stage is given of the default configuration with some sections changed."""
    changes["tissue"] = {"reflectivity_db": None}  # or its motion would limit what the probe may be
    content = {name: {**DEFAULT[name], **section} for name, section in changes.items()}
    return check_configuration(DEFAULT | content).model_dump(mode="json")


class Echo:
    """Echo of one bubble, with one plane wave along z unless `sequence` has other angles."""

    def __init__(self, *, at: tuple[float, float, float] = (0.0, 0.0, DEPTH), **changes: dict[str, Any]):
        changes["sequence"] = {"angles_deg": [0.0], **changes.get("sequence", {})}
        self.parameters = parameters = configured(**changes)
        self.start_time, n_samples = window_of(
            parameters, half_width=0.6e-3, depth=DEPTH, half_height=0.5e-3, half_thickness=0.2e-3
        )
        self.data = simulate_channel_data(
            np.array([[at]]),
            np.ones(1),
            probe_of(parameters),
            transmit_of(parameters),
            start_time=self.start_time,
            n_samples=n_samples,
            **simulating(parameters),
        )[0]
        self.rate = parameters["sequence"]["sampling_frequency"]
        self.demodulation = parameters["sequence"]["demodulation_frequency"]
        middle = (self.data.shape[1] - 1) / 2
        self.element = (np.arange(self.data.shape[1]) - middle) * parameters["probe"]["pitch"]

    def spectrum(self, frequency: Any, *, element: int = 64, angle: int = 0) -> NDArray[np.float64]:
        """Modulus of the spectrum at radio frequencies, times the sampling rate: a density over time."""
        time = np.arange(self.data.shape[-1]) / self.rate
        turns = np.multiply.outer(np.asarray(frequency) - self.demodulation, time)
        return np.abs(np.exp(-2j * np.pi * turns) @ self.data[angle, element]) / self.rate

    def arrival(self, *, element: int = 64, angle: int = 0) -> float:
        """Time of the envelope's peak, to a sixteenth of a sample, s."""
        bins = np.fft.fft(self.data[angle, element])
        n = len(bins)
        padded = np.zeros(16 * n, complex)
        padded[: n - n // 2], padded[-(n // 2) :] = bins[: n - n // 2], bins[n - n // 2 :]
        return self.start_time + float(np.abs(np.fft.ifft(padded)).argmax()) / (16 * self.rate)


def test_the_probe_has_the_elements_of_the_configuration() -> None:
    assert Echo(probe={"n_elements": 48}).data.shape[:2] == (1, 48)


@pytest.mark.parametrize("pitch", [0.1e-3, 0.14e-3])
def test_the_pitch_sets_when_the_echo_reaches_an_element(pitch: float) -> None:
    arrival = Echo(probe={"pitch": pitch}).arrival(element=OFF_CENTRE)
    expected = (DEPTH + np.hypot(43.5 * pitch, DEPTH)) / SPEED_OF_SOUND
    assert arrival == pytest.approx(expected, abs=10e-9)


def test_a_wide_element_hears_less_from_the_side() -> None:
    def side(width: float) -> float:
        echo = Echo(probe={"width": width})
        return float(echo.spectrum(CARRIER, element=OFF_CENTRE) / echo.spectrum(CARRIER))

    sine = 4.35e-3 / np.hypot(4.35e-3, DEPTH)
    wide, narrow = (np.sinc(width * CARRIER / SPEED_OF_SOUND * sine) for width in (0.1e-3, 0.02e-3))
    assert wide / narrow < 0.95
    assert side(0.1e-3) / side(0.02e-3) == pytest.approx(wide / narrow, rel=0.01)


def test_a_soft_baffle_takes_the_cosine_of_the_angle() -> None:
    soft, rigid = (Echo(probe={"baffle": baffle}) for baffle in ("soft", "rigid"))
    side = [echo.spectrum(CARRIER, element=OFF_CENTRE) / echo.spectrum(CARRIER) for echo in (soft, rigid)]
    assert side[0] / side[1] == pytest.approx(DEPTH / np.hypot(4.35e-3, DEPTH), rel=0.01)


@pytest.mark.parametrize("height", [1.0e-3, 1.5e-3, 2.0e-3])
def test_the_height_sets_the_thickness_of_the_slice(height: float) -> None:
    """At the focus an aperture's two-way gain is the squared sinc of its Fourier transform."""
    y = 0.1e-3
    off, on = (Echo(at=(0.0, each, DEPTH), probe={"height": height}) for each in (y, 0.0))
    expected = np.sinc(height * y * CARRIER / (SPEED_OF_SOUND * DEPTH)) ** 2
    assert off.spectrum(CARRIER) / on.spectrum(CARRIER) == pytest.approx(expected, rel=0.05)


def test_away_from_the_elevation_focus_the_echo_is_weaker() -> None:
    """By the squared mean of the phases over the aperture."""
    near, here = (Echo(probe={"elevation_focus": focus}) for focus in (5e-3, DEPTH))
    y = np.linspace(-0.75e-3, 0.75e-3, 2001)
    phase = np.pi * y**2 * (1 / DEPTH - 1 / 5e-3) * CARRIER / SPEED_OF_SOUND
    expected = np.abs(np.exp(1j * phase).mean()) ** 2
    assert expected < 0.9
    assert near.spectrum(CARRIER) / here.spectrum(CARRIER) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("center", "bandwidth"), [(15.625e6, 0.67), (15.625e6, 0.4), (18.0e6, 0.4)])
def test_the_echo_falls_by_6_db_at_the_edges_of_the_probe_s_band(center: float, bandwidth: float) -> None:
    click = {"transmit_frequency": center, "n_cycles": 1.0}  # has something everywhere in the band
    filtered, whole = (
        Echo(probe={"center_frequency": center, "bandwidth": each}, sequence=click)
        for each in (bandwidth, FLAT)
    )
    frequency = center * (1 + bandwidth / 2 * np.array([-1.0, 0.0, 1.0]))
    inside = np.abs(frequency - CARRIER) < 0.45 * filtered.rate
    ratio = filtered.spectrum(frequency) / whole.spectrum(frequency)
    assert inside.sum() >= 2
    np.testing.assert_allclose(ratio[inside], np.array([0.5, 1.0, 0.5])[inside], rtol=0.03)


@pytest.mark.parametrize(("frequency", "n_cycles"), [(15.0e6, 3), (16.5e6, 3), (15.0e6, 4)])
def test_the_spectrum_of_a_pulse_vanishes_a_cycle_s_share_from_its_frequency(
    frequency: float, n_cycles: float
) -> None:
    echo = Echo(
        probe={"bandwidth": FLAT},
        sequence={"transmit_frequency": frequency, "n_cycles": float(n_cycles)},
    )
    peak, offsets = echo.spectrum(frequency), np.array([-1, 1]) / n_cycles
    assert (echo.spectrum(frequency * (1 + offsets)) < 0.03 * peak).all()
    assert (echo.spectrum(frequency * (1 + offsets / 2)) > 0.3 * peak).all()


def test_a_tilted_wave_arrives_by_its_angle() -> None:
    x, angles = 0.5e-3, np.array([-10.0, 0.0, 10.0])
    echo = Echo(at=(x, 0.0, DEPTH), sequence={"angles_deg": angles.tolist()})
    sine, cosine = np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))
    first = echo.element[-1] * np.abs(sine)  # the wave's centre leaves after its first element
    way = first + x * sine + DEPTH * cosine + np.hypot(x - echo.element[64], DEPTH)
    arrivals = [echo.arrival(angle=angle) for angle in range(3)]
    np.testing.assert_allclose(arrivals, way / SPEED_OF_SOUND, rtol=0, atol=10e-9)


@pytest.mark.parametrize("speed", [1450.0, 1600.0])
def test_the_speed_of_sound_sets_the_time_of_arrival(speed: float) -> None:
    echo = Echo(medium={"speed_of_sound": speed})
    assert echo.arrival() == pytest.approx((DEPTH + np.hypot(0.05e-3, DEPTH)) / speed, abs=10e-9)


@pytest.mark.parametrize("frequency", [12.0e6, CARRIER])
def test_attenuation_lowers_the_echo_by_decibels_per_centimetre_and_megahertz(frequency: float) -> None:
    lossless, lossy = (Echo(medium={"attenuation": attenuation}) for attenuation in (0.0, 0.7))
    loss = 20 * np.log10(lossless.spectrum(frequency) / lossy.spectrum(frequency))
    assert loss == pytest.approx(0.7 * 2 * (DEPTH / 1e-2) * (frequency / 1e6), rel=0.03)


@pytest.mark.parametrize("demodulation", [14.5e6, 16.5e6])
def test_the_demodulation_frequency_is_what_the_samples_are_freed_of(demodulation: float) -> None:
    """The phase of successive samples turns by the pulse's frequency less the carrier's."""
    pulse = {"transmit_frequency": 15.0e6, "n_cycles": 8.0}
    echo = Echo(sequence={**pulse, "demodulation_frequency": demodulation})
    samples = echo.data[0, 64]
    turns = np.angle(np.sum(samples[1:] * samples[:-1].conj())) / (2 * np.pi)
    assert turns * echo.rate == pytest.approx(15.0e6 - demodulation, abs=0.1e6)


def test_a_higher_sampling_frequency_takes_more_samples_of_the_same_echo() -> None:
    one, other = (Echo(sequence={"sampling_frequency": each}) for each in (15.625e6, 25.0e6))
    assert other.data.shape[-1] / one.data.shape[-1] == pytest.approx(1.6, rel=0.05)
    assert other.arrival() == pytest.approx(one.arrival(), abs=5e-9)
    frequency = np.linspace(10e6, 21e6, 12)
    np.testing.assert_allclose(one.spectrum(frequency), other.spectrum(frequency), rtol=0.002, atol=0.001)


class TestNoise:
    @pytest.mark.parametrize("band", ["sampled", "probe"])
    @pytest.mark.parametrize("snr_db", [-6.0, 20.0])
    def test_the_echo_of_a_lone_bubble_stands_above_it_by_the_decibels_asked_for(self, band, snr_db) -> None:
        echo = Echo(noise={"snr_db": snr_db, "band": band}, medium={"attenuation": 0.5})
        n_samples = echo.data.shape[-1]
        noise = receiver_noise(
            np.random.default_rng(0), (256, n_samples), **noise_of(echo.parameters, n_samples=n_samples)
        )
        ratio = np.abs(echo.data).max() / np.sqrt(np.mean(np.abs(noise) ** 2))
        assert 20 * np.log10(ratio) == pytest.approx(snr_db, abs=0.3)

    def test_of_the_probe_s_band_has_half_its_power_at_the_edges(self) -> None:
        """The band's edges are those of −6 dB there and back, thus of −3 dB one way."""
        parameters = configured(noise={"band": "probe"}, probe={"center_frequency": 17.0e6, "bandwidth": 0.5})
        n_records, n_samples = 20_000, 125  # bins of 125 kHz
        noise = receiver_noise(
            np.random.default_rng(0), (n_records, n_samples), **noise_of(parameters, n_samples=n_samples)
        )
        power = np.mean(np.abs(np.fft.fft(noise)) ** 2, axis=0)
        edges_and_centre = np.array([12.75e6, 17.0e6, 21.25e6])
        bins = np.round((edges_and_centre - CARRIER) / 125e3).astype(int)
        np.testing.assert_allclose(edges_and_centre, CARRIER + bins * 125e3, rtol=1e-12)
        np.testing.assert_allclose(power[bins] / power[bins[1]], [0.5, 1.0, 0.5], rtol=0.05)

    def test_is_white_unless_asked_otherwise(self) -> None:
        assert set(noise_of(configured(), n_samples=64)) == {"root_mean_square"}
        assert noise_of(configured(noise={"snr_db": None, "band": "sampled"}), n_samples=64) is None
