"""Tissue that breathes and pulses by known amounts is found to do so, and what moved with it is put back."""

from __future__ import annotations

import numpy as np
import pytest

from ulmpipe.acoustics import PlaneWaves, named_probe
from ulmpipe.beamforming import Grid
from ulmpipe.correlation import remove_carrier
from ulmpipe.errors import InputError
from ulmpipe.imaging import simulate_image
from ulmpipe.localization import LOCALIZATION, brightness_map, localizations_to_map
from ulmpipe.motion import estimate_motion, move_images, no_motion, subtract_motion, tissue_image
from ulmpipe.phantom import displace, tissue_scatterers
from ulmpipe.registration import measure_drift

PIXEL, WAVENUMBER = 25e-6, 2 * np.pi * 15e6 / 1540.0
CARRIER = 2 * WAVENUMBER * PIXEL  # rad a pixel
FRAME_RATE = 1000.0
SIGMA = (2.0, 3.0)  # pixels (z, x) of the point spread function
MARGIN = 8


class Tissue:
    """Speckle of band-limited random numbers, periodic beyond a margin around the field."""

    def __init__(self, rng, shape=(64, 64)):
        full = tuple(n + 2 * MARGIN for n in shape)
        self.z, self.x = np.fft.fftfreq(full[0])[:, None], np.fft.fftfreq(full[1])
        band = np.exp(-2 * np.pi**2 * ((SIGMA[0] * self.z) ** 2 + (SIGMA[1] * self.x) ** 2))
        spectrum = band * np.fft.fft2(rng.normal(size=full) + 1j * rng.normal(size=full))
        self.spectrum = spectrum / np.sqrt(np.mean(np.abs(np.fft.ifft2(spectrum)) ** 2))

    def moved(self, z, x):
        """The field (z, x) without its carrier: its content moved, and turned by the carrier."""
        turned = self.spectrum * np.exp(-2j * np.pi * (self.z * z + self.x * x))
        return np.fft.ifft2(turned)[MARGIN:-MARGIN, MARGIN:-MARGIN] * np.exp(-1j * CARRIER * z)


def bubbles(shape, places):
    """Bubbles (bubble, 2) without their carrier: exp(2ik(z - z_b)) under the point spread function each."""
    (z, x), (n_z, n_x) = places.T, shape
    down = np.exp(-(((np.arange(n_z)[:, None] - z) / SIGMA[0]) ** 2) / 2 - 1j * CARRIER * z)
    across = np.exp(-(((np.arange(n_x) - x[:, None]) / SIGMA[1]) ** 2) / 2)
    return down @ across


def recorded(rng, motion, *, shape=(64, 64), noise=0.1, n_bubbles=10, bubble=0.2, tissue=None):
    """IQ (frame, z, x) with its carrier: tissue of RMS 1, bubbles that flow and move with it, noise."""
    tissue = Tissue(rng, shape) if tissue is None else tissue
    place, speed = rng.uniform(0, 1, (n_bubbles, 2)) * shape, rng.normal(0, 0.02, (n_bubbles, 2))
    carrier = np.exp(1j * CARRIER * np.arange(shape[0]))[:, None]
    images = np.empty((len(motion), *shape), np.complex64)
    for frame, by in enumerate(motion):
        images[frame] = (tissue.moved(*by) + bubble * bubbles(shape, place + speed * frame + by)) * carrier
    receiver = rng.standard_normal((*images.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    return images + np.float32(noise / np.sqrt(2)) * receiver


def sway(n_frames, amplitude, frequency, phase):
    """(frame, 2) sine of amplitudes (z, x) in pixels."""
    time = np.arange(n_frames) / FRAME_RATE
    return np.outer(np.sin(2 * np.pi * frequency * time + phase), amplitude)


def path(kind, n_frames):
    return {
        "rest": np.zeros((n_frames, 2)),
        "drift": np.outer(np.arange(n_frames) / n_frames, (1.5, -2.5)),
        "breathing": sway(n_frames, (2.2, 2.0), 1.0, 0.2),
        "heartbeat": sway(n_frames, (3.0, 0.0), 5.0, 1.0) + sway(n_frames, (0.0, 3.0), 5.0, 2.0),
        "both": sway(n_frames, (1.5, -1.5), 1.0, 2.5) + sway(n_frames, (1.3, 1.5), 5.0, 0.0),
    }[kind]


def root_mean_square(error):
    return np.sqrt(np.mean(error**2, axis=0))


@pytest.mark.parametrize("kind", ["drift", "breathing", "heartbeat", "both"])
@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_motion_within_a_block_is_found_to_a_tenth_of_a_pixel(kind, noise):
    motion = path(kind, 200)
    found = estimate_motion(recorded(np.random.default_rng(0), motion, noise=noise), carrier=CARRIER)
    error = root_mean_square(found - (motion - motion[100]))
    print(f"{kind}, noise {noise}: RMS error z, x {error.round(4)} px")
    assert np.all(error < (0.02, 0.1))
    assert np.all(found[100] == 0)
    assert np.ptp(motion, axis=0).max() > 1


@pytest.mark.parametrize("seed", range(3))
def test_tissue_at_rest_is_found_at_rest_and_its_angiogram_stays(seed):
    rng = np.random.default_rng(seed)
    found = estimate_motion(recorded(rng, path("rest", 200)), carrier=CARRIER)
    error = root_mean_square(found)
    print(f"at rest: RMS z, x {error.round(4)} px, largest {np.abs(found).max(axis=0).round(4)}")
    assert np.all(error < 0.02)
    assert not np.rint(8 * found).any()

    localizations = np.zeros(2000, dtype=LOCALIZATION)
    localizations["frame"] = rng.integers(200, size=2000)
    localizations["z"], localizations["x"] = rng.uniform(0, 63, (2, 2000))
    kept = subtract_motion(localizations, found, upsampling=8)
    np.testing.assert_array_equal(
        localizations_to_map(kept, shape=(64, 64)), localizations_to_map(localizations, shape=(64, 64))
    )


def test_the_carrier_of_the_images_counts_and_not_what_it_is_said_to_be():
    motion = path("heartbeat", 200)
    images = recorded(np.random.default_rng(1), motion)
    for said in (0.9 * CARRIER, 1.1 * CARRIER):
        error = root_mean_square(estimate_motion(images, carrier=said) - (motion - motion[100]))
        assert error[0] < 0.02


def test_without_noise_and_bubbles_the_phase_gives_depth_to_a_hundredth():
    motion = path("both", 120)
    images = recorded(np.random.default_rng(2), motion, noise=0.0, n_bubbles=0)
    error = root_mean_square(estimate_motion(images, carrier=CARRIER) - (motion - motion[60]))
    print(f"ideal: RMS error z, x {error.round(4)} px")
    assert np.all(error < (0.005, 0.05))


def test_motion_of_simulated_tissue_is_found_in_its_beamformed_images():
    """Scatterers through simulator and beamformer: signs, carrier and point spread function are not this file's."""
    n_frames, width = 9, 48 * PIXEL
    motion = np.stack([np.linspace(-2.0, 2.2, n_frames), np.linspace(1.5, -2.7, n_frames)], axis=1)  # px
    motion -= motion[n_frames // 2]
    reach = width / 2 + 8 * PIXEL
    tissue = tissue_scatterers(
        np.random.default_rng(11),
        n_scatterers=1200,
        extent=np.array([[-reach, reach], [-2e-4, 2e-4], [8e-3 - reach, 8e-3 + reach]]),
        reflectivity=1.0,
    )
    offsets = (np.arange(48) - 23.5) * PIXEL
    images = simulate_image(
        displace(np.repeat(tissue.position[None], n_frames, 0), PIXEL * motion[:, ::-1]),
        tissue.reflectivity,
        Grid(x=offsets, z=8e-3 + offsets),
        named_probe("L22-14v"),
        PlaneWaves(angles=(0.0,), transmit_frequency=15e6, n_cycles=3),
        start_time=8.2e-6,
        n_samples=128,
        sampling_frequency=15.625e6,
        demodulation_frequency=15.625e6,
        speed_of_sound=1540.0,
        attenuation=0.0,
        f_number=0.0,
        apodization="rectangular",
        lens_correction=False,
        oversampling=4,
        backend="cpu",
        workers=1,
    )
    found = estimate_motion(images, carrier=4 * np.pi * 15.625e6 / 1540.0 * PIXEL, group=1)
    error = root_mean_square(found - motion)
    print(f"simulated tissue: RMS error z, x {error.round(4)} px")
    assert np.all(error < 0.03)


@pytest.mark.parametrize(("n_frames", "group"), [(1, 5), (2, 5), (7, 3), (23, 1), (30, 50)])
def test_short_blocks_and_any_grouping_do(n_frames, group):
    motion = np.outer(np.arange(n_frames), (0.02, -0.02))
    found = estimate_motion(recorded(np.random.default_rng(3), motion), carrier=CARRIER, group=group)
    assert found.shape == (n_frames, 2)
    assert np.abs(found - (motion - motion[n_frames // 2])).max() < 0.15


def test_motion_within_and_between_blocks_add_up():
    rng = np.random.default_rng(4)
    tissue = Tissue(rng)
    between = np.array([[0.0, 0.0], [0.8, -1.1], [1.9, -0.4]])
    within = [sway(60, (2.0, 1.5), 8.0, phase) for phase in (0.0, 1.5, 3.0)]  # px; the block is short
    blocks = [recorded(rng, by + inner, tissue=tissue) for by, inner in zip(between, within, strict=True)]
    motions = [estimate_motion(block, carrier=CARRIER, group=3) for block in blocks]
    images = [tissue_image(block, by, carrier=CARRIER) for block, by in zip(blocks, motions, strict=True)]
    drift = measure_drift(np.array(images))
    assert not drift.outlier.any()
    for block in range(3):
        total = motions[block] + drift.displacement[block]
        error = root_mean_square(total - (between[block] + within[block] - between[0] - within[0][30]))
        print(f"block {block}: RMS error z, x {error.round(4)} px")
        assert np.all(error < 0.1)


def test_localizations_of_a_bubble_that_moves_with_the_tissue_come_to_lie_on_one_spot():
    motion = path("both", 50)
    motion -= motion[25]
    localizations = np.zeros(50, dtype=LOCALIZATION)
    localizations["frame"] = np.arange(50)
    localizations["z"], localizations["x"] = (np.array([30.5, 20.5]) + motion).T
    localizations["value"] = np.linspace(0.5, 1, 50)
    corrected = subtract_motion(localizations, motion)
    np.testing.assert_allclose(corrected["z"], 30.5, atol=1e-5)
    np.testing.assert_allclose(corrected["x"], 20.5, atol=1e-5)
    np.testing.assert_array_equal(corrected["value"], localizations["value"])
    assert np.ptp(localizations["x"]) > 0.5  # the argument is left alone
    rounded = subtract_motion(localizations, motion, upsampling=8)
    assert np.abs(rounded["z"] - 30.5).max() <= 0.5 / 8 + 1e-5
    shifts = 8 * (localizations["x"] - rounded["x"])
    np.testing.assert_allclose(shifts, np.rint(shifts), atol=1e-4)


def test_the_order_of_frames_and_records_does_not_matter():
    motion = np.arange(6.0).reshape(3, 2)
    localizations = np.array([(2, 9, 9, 1), (0, 9, 9, 1), (2, 1, 1, 1)], dtype=LOCALIZATION)
    corrected = subtract_motion(localizations, motion)
    assert corrected[["z", "x"]].tolist() == [(5, 4), (9, 8), (-3, -4)]
    assert len(subtract_motion(localizations[:0], motion)) == 0


@pytest.mark.parametrize(("method", "limit"), [("fourier", 3e-4), ("cubic", 1e-3)])
@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize("by", [(0.37, -0.81), (-2.6, 1.45)])
def test_moved_images_are_those_of_moved_tissue_phase_and_all(method, limit, removed, by):
    tissue = Tissue(np.random.default_rng(5))
    carrier = 1.0 if removed else np.exp(1j * CARRIER * np.arange(64))[:, None]
    still, expected = tissue.moved(0, 0) * carrier, tissue.moved(*by) * carrier
    moved = move_images(
        still[None].astype(np.complex64),
        np.array([by]),
        carrier=CARRIER,
        carrier_removed=removed,
        method=method,
    )[0]
    inner = (slice(8, -8), slice(8, -8))
    error = np.linalg.norm((moved - expected)[inner]) / np.linalg.norm(expected[inner])
    print(f"{method}, by {by}: error {20 * np.log10(error):.1f} dB")
    assert error < limit
    unmoved = np.linalg.norm((still - expected)[inner]) / np.linalg.norm(expected[inner])
    assert unmoved > 0.5


def test_a_correlation_map_and_its_iq_are_moved_alike():
    tissue = Tissue(np.random.default_rng(6))
    depths = 8e-3 + PIXEL * np.arange(64)
    iq = (tissue.moved(0, 0) * np.exp(2j * WAVENUMBER * depths)[:, None])[None].astype(np.complex64)
    by = np.array([[0.6, 0.3]])
    before = move_images(iq, by, carrier=CARRIER, carrier_removed=False)
    after = move_images(
        remove_carrier(iq, depths, wavenumber=WAVENUMBER), by, carrier=CARRIER, carrier_removed=True
    )
    np.testing.assert_allclose(remove_carrier(before, depths, wavenumber=WAVENUMBER), after, atol=1e-3)


@pytest.mark.parametrize("method", ["fourier", "cubic"])
def test_what_enters_a_moved_image_is_zero_and_whole_pixels_are_exact(method):
    rng = np.random.default_rng(7)
    image = (rng.normal(size=(1, 20, 24, 2)) @ [1, 1j]).astype(np.complex64)
    moved = move_images(image, np.array([[3.0, -2.0]]), carrier=0.0, carrier_removed=True, method=method)[0]
    np.testing.assert_allclose(moved[3:, :-2], image[0, :-3, 2:], atol=1e-5)
    assert not moved[:3].any()
    assert not moved[:, -2:].any()
    far = move_images(image, np.array([[50.0, 0.2]]), carrier=1.0, carrier_removed=False, method=method)
    assert not far.any()


def test_motion_switched_off_changes_nothing_to_the_bit():
    rng = np.random.default_rng(8)
    images = recorded(rng, path("heartbeat", 4), shape=(24, 24))
    for method in ("fourier", "cubic"):
        same = move_images(images, no_motion(4), carrier=CARRIER, carrier_removed=False, method=method)
        np.testing.assert_array_equal(same, images)
    np.testing.assert_allclose(
        tissue_image(images, no_motion(4), carrier=CARRIER), np.abs(images).mean(axis=0), rtol=1e-5
    )
    localizations = np.array([(1, 2.25, 3.5, 1)], dtype=LOCALIZATION)
    assert subtract_motion(localizations, no_motion(4)).tolist() == localizations.tolist()
    assert no_motion(4).tolist() == [[0.0, 0.0]] * 4


def test_correction_sharpens_the_angiogram_of_a_beating_vessel():
    """Bubbles that flow along a straight vessel, seen while the tissue beats, estimated motion taken out."""
    rng = np.random.default_rng(9)
    motion = path("both", 250)
    found = estimate_motion(recorded(rng, motion), carrier=CARRIER)
    reference = motion - motion[125]
    localizations = np.zeros(250, dtype=LOCALIZATION)
    localizations["frame"] = np.arange(250)
    localizations["z"] = 32.0 + reference[:, 0]
    localizations["x"] = np.linspace(15, 50, 250) + reference[:, 1]
    localizations["value"] = 1.0

    def thickness(records):
        rows = np.nonzero(brightness_map(records, shape=(64, 64)).any(axis=1))[0]
        return rows[-1] - rows[0] + 1

    corrected = subtract_motion(localizations, found)
    assert thickness(localizations) > 20  # fine pixels
    assert thickness(corrected) <= 2
    assert np.sqrt(np.mean((corrected["x"] - np.linspace(15, 50, 250)) ** 2)) < 0.1


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda iq: estimate_motion(iq[0], carrier=CARRIER), "iq"),
        (lambda iq: estimate_motion(np.abs(iq), carrier=CARRIER), "iq"),
        (lambda iq: estimate_motion(iq, carrier=0.0), "carrier"),
        (lambda iq: estimate_motion(iq, carrier=CARRIER, group=0), "group"),
        (lambda iq: estimate_motion(0 * iq, carrier=CARRIER), "image"),
        (lambda iq: move_images(iq, np.zeros((2, 2)), carrier=1.0, carrier_removed=True), "motion"),
        (lambda iq: move_images(iq, np.full((3, 2), np.nan), carrier=1.0, carrier_removed=True), "NaN"),
        (
            lambda iq: move_images(iq, no_motion(3), carrier=1.0, carrier_removed=True, method="linear"),
            "method",
        ),
        (lambda iq: move_images(np.abs(iq), no_motion(3), carrier=1.0, carrier_removed=True), "images"),
        (lambda iq: tissue_image(iq, no_motion(4), carrier=1.0), "motion"),
        (lambda iq: subtract_motion(np.array([(3, 1, 1, 1)], LOCALIZATION), no_motion(3)), "frames 3 to 3"),
        (lambda iq: subtract_motion(np.array([(-1, 1, 1, 1)], LOCALIZATION), no_motion(3)), "frames -1"),
    ],
)
def test_what_cannot_be_done_is_refused(call, word):
    iq = recorded(np.random.default_rng(10), no_motion(3), shape=(20, 20))
    with pytest.raises(InputError, match=word):
        call(iq)
