from __future__ import annotations

import tracemalloc
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from ulmpipe.clutter import (
    adaptive_svd_filter,
    decompose,
    double_decay,
    keep_components,
    n_above_noise,
    similarity_squares,
    slow_components,
    spatial_similarity,
    svd_filter,
)
from ulmpipe.device import to_host
from ulmpipe.errors import InputError


def random_images(rng, shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def by_numpy(iq, n_removed):
    matrix = iq.astype(complex).reshape(iq.shape[0], -1)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return ((left[:, n_removed:] * values[n_removed:]) @ right[n_removed:]).reshape(iq.shape)


def with_spectrum(rng, shape, values):
    """Images whose singular values are these."""
    n_frames, n_pixels = shape[0], shape[1] * shape[2]
    left = np.linalg.qr(random_images(rng, (n_frames, len(values))))[0]
    right = np.linalg.qr(random_images(rng, (n_pixels, len(values))))[0]
    return ((left * values) @ right.conj().T).reshape(shape).astype(np.complex64)


@pytest.mark.parametrize("shape", [(40, 12, 11), (30, 4, 5), (16, 100, 100)])
@pytest.mark.parametrize("n_removed", [1, 7])
def test_it_equals_the_full_decomposition_without_its_first_components(shape, n_removed):
    rng = np.random.default_rng(0)
    iq = with_spectrum(rng, shape, np.geomspace(1.0, 0.05, 14))
    filtered, expected = svd_filter(iq, n_removed=n_removed), by_numpy(iq, n_removed)
    assert filtered.dtype == np.complex64
    assert np.linalg.norm(filtered - expected) < 1e-4 * np.linalg.norm(expected)


def test_weak_components_under_strong_tissue_are_told_apart():
    # 60 dB between tissue and the last component removed: a float32 Gram matrix would lose it
    rng = np.random.default_rng(1)
    iq = with_spectrum(rng, (64, 20, 20), np.array([1.0, 0.5, 2e-3, 1e-3, 3e-4, 2e-4]))
    expected = by_numpy(iq, 4)
    assert np.linalg.norm(svd_filter(iq, n_removed=4) - expected) < 5e-3 * np.linalg.norm(expected)


def test_a_moving_bubble_survives_still_tissue():
    rng = np.random.default_rng(2)
    z, x = np.mgrid[:24, :24]
    bubble = np.stack([np.exp(-((z - 12) ** 2 + (x - 24 * frame / 100) ** 2) / 4) for frame in range(100)])
    tissue = 1000 * random_images(rng, (1, 24, 24))
    filtered = svd_filter((bubble + tissue).astype(np.complex64), n_removed=1)
    moving = bubble - bubble.mean(axis=0)  # a still component takes the bubble's own mean with it,
    pattern = tissue[0] / np.linalg.norm(tissue)  # and what looks like tissue
    moving = moving - np.tensordot(moving, pattern.conj(), axes=2)[:, None, None] * pattern
    assert np.linalg.norm(filtered - moving) < 0.005 * np.linalg.norm(moving)
    assert np.linalg.norm(moving) > 0.8 * np.linalg.norm(bubble)


def test_nothing_removed_is_a_copy_and_the_input_is_left_alone():
    iq = random_images(np.random.default_rng(3), (6, 4, 4))
    before = iq.copy()
    untouched = svd_filter(iq, n_removed=0)
    np.testing.assert_array_equal(untouched, before)
    svd_filter(iq, n_removed=3)
    np.testing.assert_array_equal(iq, before)
    assert not np.shares_memory(untouched, iq)


@pytest.mark.parametrize("n_removed", [-1, 6])
def test_a_number_of_components_outside_the_block_is_refused(n_removed):
    with pytest.raises(InputError, match=f"n_removed: {n_removed}"):
        svd_filter(np.ones((6, 4, 4), np.complex64), n_removed=n_removed)


def test_images_that_are_not_finite_are_refused():
    iq = np.ones((6, 4, 4), np.complex64)
    iq[2, 1, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        svd_filter(iq, n_removed=2)


@pytest.mark.parametrize("n_removed", [1, 7])
def test_the_randomized_filter_equals_the_full_decomposition_where_components_fall_off(n_removed):
    iq = with_spectrum(np.random.default_rng(4), (40, 20, 21), np.geomspace(1.0, 1e-3, 40))
    filtered = svd_filter(iq, n_removed=n_removed, method="randomized", generator=np.random.default_rng(5))
    expected = by_numpy(iq, n_removed)
    assert filtered.dtype == np.complex64
    assert np.linalg.norm(filtered - expected) < 1e-4 * np.linalg.norm(expected)


def test_the_randomized_filter_tells_weak_components_under_strong_tissue_apart():
    iq = with_spectrum(np.random.default_rng(1), (64, 20, 20), np.array([1.0, 0.5, 2e-3, 1e-3, 3e-4, 2e-4]))
    expected = by_numpy(iq, 4)
    filtered = svd_filter(
        iq, n_removed=4, method="randomized", oversampling=1, generator=np.random.default_rng(5)
    )
    assert np.linalg.norm(filtered - expected) < 1e-3 * np.linalg.norm(expected)


def test_power_iterations_make_the_difference():
    iq = with_spectrum(np.random.default_rng(6), (60, 20, 21), np.exp(-np.arange(60) / 10))
    expected = by_numpy(iq, 5)
    errors = [
        np.linalg.norm(
            svd_filter(
                iq,
                n_removed=5,
                method="randomized",
                oversampling=3,
                power_iterations=iterations,
                generator=np.random.default_rng(7),
            )
            - expected
        )
        / np.linalg.norm(expected)
        for iterations in (0, 3, 12)
    ]
    assert errors[0] > 0.1
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 10


def test_in_noise_the_randomized_filter_takes_off_as_much_as_the_exact_one():
    iq = random_images(np.random.default_rng(8), (60, 30, 30))
    iq += 100 * random_images(np.random.default_rng(9), (1, 30, 30))
    left = [
        np.linalg.norm(svd_filter(iq, n_removed=6, **how))
        for how in ({}, {"method": "randomized", "generator": np.random.default_rng(0)})
    ]
    assert left[0] <= left[1] < 1.003 * left[0]


@pytest.mark.parametrize("how", [{}, {"n_kept": 4}, {"method": "randomized"}])
def test_the_result_does_not_depend_on_the_number_of_threads(how):
    iq = random_images(np.random.default_rng(10), (16, 130, 200))  # four strips of pixels
    first, second, third = (
        svd_filter(
            iq,
            n_removed=3,
            workers=workers,
            **how,
            **({"generator": np.random.default_rng(11)} if how.get("method") else {}),
        )
        for workers in (1, 2, 4)
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)


def test_components_after_those_kept_are_removed_too():
    iq = with_spectrum(np.random.default_rng(12), (30, 12, 13), np.geomspace(1.0, 0.01, 30))
    expected = by_numpy(iq, 3) - by_numpy(iq, 8)
    kept = svd_filter(iq, n_removed=3, n_kept=5)
    assert np.linalg.norm(kept - expected) < 1e-4 * np.linalg.norm(expected)
    randomized = svd_filter(
        iq, n_removed=3, n_kept=5, method="randomized", generator=np.random.default_rng(0)
    )
    assert np.linalg.norm(randomized - expected) < 1e-3 * np.linalg.norm(expected)
    np.testing.assert_array_equal(svd_filter(iq, n_removed=3, n_kept=27), svd_filter(iq, n_removed=3))


def test_on_a_gpu_components_after_those_kept_are_removed_too(gpu):
    iq = with_spectrum(np.random.default_rng(13), (24, 10, 12), np.geomspace(1.0, 0.05, 24))
    found = svd_filter(gpu.asarray(iq), n_removed=2, n_kept=5)
    assert isinstance(found, gpu.ndarray)
    expected = svd_filter(iq, n_removed=2, n_kept=5)
    assert np.linalg.norm(to_host(found) - expected) < 1e-4 * np.linalg.norm(expected)
    with pytest.raises(InputError, match="GPU"):
        svd_filter(gpu.asarray(iq), n_removed=2, method="randomized", generator=np.random.default_rng(0))
    with pytest.raises(InputError, match="GPU"):
        adaptive_svd_filter(gpu.asarray(iq))


def test_memory_is_that_of_the_result_and_of_some_pixels():
    iq = random_images(np.random.default_rng(14), (40, 256, 256))
    for how in ({}, {"method": "randomized", "generator": np.random.default_rng(0)}, {"n_kept": 30}):
        tracemalloc.start()
        svd_filter(iq, n_removed=3, workers=2, **how)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.75 * iq.nbytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_kept": 0}, "n_kept: 0"),
        ({"n_kept": 5}, "n_kept: 5"),
        ({"method": "fast"}, "method: 'fast'"),
        ({"method": "randomized"}, "generator: None"),
        ({"method": "randomized", "generator": np.random.default_rng(0), "oversampling": -1}, "oversampling"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        svd_filter(np.ones((6, 4, 4), np.complex64), n_removed=2, **options)


def test_images_that_are_not_finite_are_refused_by_every_way():
    iq = np.ones((6, 4, 4), np.complex64)
    iq[2, 1, 1] = np.inf
    with pytest.raises(InputError, match="not finite"), np.errstate(invalid="ignore"):
        svd_filter(iq, n_removed=2, method="randomized", generator=np.random.default_rng(0))
    with pytest.raises(InputError, match="not finite"):
        adaptive_svd_filter(iq)


def test_the_components_are_those_of_the_singular_value_decomposition():
    iq = with_spectrum(np.random.default_rng(15), (20, 9, 10), np.geomspace(1.0, 0.01, 20))
    components = decompose(iq)
    left, values, _ = np.linalg.svd(iq.astype(complex).reshape(20, -1), full_matrices=False)
    np.testing.assert_allclose(components.values, values, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.sum(left.conj() * components.temporal, axis=0)), 1.0, rtol=1e-6)
    few = decompose(random_images(np.random.default_rng(16), (20, 2, 3)))  # fewer pixels than frames
    assert np.all(few.values[6:] < 1e-6 * few.values[0])


def test_the_parts_of_a_block_add_up_to_it():
    iq = random_images(np.random.default_rng(17), (12, 8, 9))
    components = decompose(iq)
    parts = [
        keep_components(iq, components, first=first, last=last) for first, last in ((0, 3), (3, 7), (7, 12))
    ]
    np.testing.assert_allclose(sum(parts), iq, atol=1e-5)
    for bad in ({"first": 3, "last": 3}, {"first": -1, "last": 4}, {"first": 2, "last": 13}):
        with pytest.raises(InputError, match="first, last"):
            keep_components(iq, components, **bad)


def test_the_spatial_similarity_is_the_correlation_of_moduli_of_spatial_vectors():
    iq = with_spectrum(np.random.default_rng(18), (12, 110, 100), np.geomspace(1.0, 0.05, 12))
    found = spatial_similarity(iq, decompose(iq), workers=2)
    right = np.linalg.svd(iq.astype(complex).reshape(12, -1), full_matrices=False)[2]
    np.testing.assert_allclose(found, np.corrcoef(np.abs(right)), atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_a_component_that_is_the_same_everywhere_is_like_no_other():
    iq = np.exp(2j * np.pi * np.arange(5) / 5)[:, None, None] * np.ones((5, 6, 7))
    iq = (1e3 * iq + random_images(np.random.default_rng(19), (5, 6, 7)) * 1e-2).astype(np.complex64)
    similarity = spatial_similarity(iq, decompose(iq))
    assert np.all(np.isfinite(similarity))
    np.testing.assert_array_equal(similarity[0, 1:], 0.0)
    assert similarity[0, 0] == 1.0


@pytest.mark.parametrize(("tissue", "end"), [(1, 5), (4, 11), (9, 20), (6, 7)])
def test_two_squares_are_found_in_a_similarity_matrix(tissue, end):
    rng = np.random.default_rng(20)
    similarity = np.zeros((20, 20))
    similarity[:tissue, :tissue] = 0.6
    similarity[tissue:end, tissue:end] = 0.5
    noise = rng.normal(0, 0.05, (20, 20))
    assert similarity_squares(similarity + noise + noise.T) == (tissue, end)


@given(seed=st.integers(0, 10**6), n=st.integers(3, 9))
@settings(max_examples=25, deadline=None)
def test_the_two_squares_have_the_highest_correlation_of_all(seed, n):
    similarity = np.corrcoef(np.random.default_rng(seed).random((n, 12)))

    def correlation(tissue, end):
        squares = np.zeros((n, n))
        squares[:tissue, :tissue] = 1
        squares[tissue:end, tissue:end] = 1
        return np.corrcoef(squares.ravel(), similarity.ravel())[0, 1]

    best = max(correlation(tissue, end) for tissue in range(1, n) for end in range(tissue + 1, n + 1))
    assert correlation(*similarity_squares(similarity)) == pytest.approx(best, abs=1e-9)


@given(
    turn=st.integers(2, 40),
    fall=st.floats(10.0, 100.0),
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-6, 1e6),
)
@settings(max_examples=50, deadline=None)
def test_the_turn_of_two_straight_decays_is_found(turn, fall, seed, scale):
    index = np.arange(200)
    level = np.where(index < turn, -fall / turn * index, -fall - 10 - 0.05 * (index - turn))
    level = level - 0.1 * np.random.default_rng(seed).random(200)
    assert double_decay(scale * 10 ** (level / 20)) == turn


def test_the_turn_has_the_least_squares_of_all_pairs_of_lines():
    values = np.sort(np.random.default_rng(21).lognormal(0, 2, 120))[::-1]
    level = 20 * np.log10(values[:30])

    def squares(part):
        index = np.arange(len(part))
        return np.sum((np.polyval(np.polyfit(index, part, min(1, len(part) - 1)), index) - part) ** 2)

    expected = min(range(1, 29), key=lambda turn: squares(level[:turn]) + squares(level[turn:]))
    assert double_decay(values) == expected


def test_too_few_values_to_find_a_turn_are_refused():
    with pytest.raises(InputError, match="n_considered: 3"):
        double_decay(np.array([3.0, 2.0, 1.0]))
    with pytest.raises(InputError, match="n_considered: 12"):
        double_decay(np.arange(10.0, 0, -1), n_considered=12)


def test_slow_components_come_before_the_first_fast_one():
    times = np.arange(200) / 1000
    tones = [np.cos(2 * np.pi * 5 * times), np.exp(-2j * np.pi * 15 * times), np.exp(2j * np.pi * 60 * times)]
    temporal = np.stack([*tones, np.ones(200)], axis=1)  # a slow one after a fast one is not tissue
    for cutoff, expected in ((3.0, 0), (10.0, 1), (30.0, 2), (100.0, 4)):
        found = slow_components(temporal, pulse_repetition_frequency=1000.0, cutoff_frequency=cutoff)
        assert found == expected
    with pytest.raises(InputError, match=r"cutoff_frequency: 501.0, expected above 0 and up to 500 Hz"):
        slow_components(temporal, pulse_repetition_frequency=1000.0, cutoff_frequency=501.0)
    with pytest.raises(InputError, match=r"pulse_repetition_frequency: 0\.0"):
        slow_components(temporal, pulse_repetition_frequency=0.0, cutoff_frequency=1.0)


@pytest.mark.parametrize("side", [15, 24, 64])  # frames are 0.35, 0.14 and 0.02 of the pixels
@pytest.mark.parametrize(("smoothing", "false_ones", "strength"), [(0.0, 1, 1.0), (0.6, 5, 2.0)])
def test_components_above_noise_are_counted(side, smoothing, false_ones, strength):
    rng = np.random.default_rng(22)
    noise = random_images(rng, (80, side, side))
    noise = gaussian_filter(noise, (0, smoothing, smoothing))
    noise /= np.sqrt(np.mean(np.abs(noise) ** 2))
    assert n_above_noise(decompose(noise).values) <= false_ones
    edge = side + np.sqrt(80)  # of white noise; noise adds to what it is added to
    signal = with_spectrum(rng, (80, side, side), strength * edge * np.ones(6))
    assert 6 <= n_above_noise(decompose(noise + signal).values) <= 6 + false_ones


def test_too_few_values_to_tell_noise_are_refused():
    with pytest.raises(InputError, match="singular values: 7"):
        n_above_noise(np.ones(7))


@cache
def moving_block(seed, amplitude):
    """Tissue 35 dB above bubbles that moves by so many metres, and bubbles, (frame, z, x), pixels of 50 µm."""
    rng = np.random.default_rng(seed)
    times, axis = np.arange(160)[:, None] / 1000, 50e-6 * (np.arange(32) - 15.5)

    def image(z, x, echo):
        along_z = np.exp(-0.5 * ((axis[:, None] - z[:, None]) / 65e-6) ** 2)
        along_x = np.exp(-0.5 * ((axis[:, None] - x[:, None]) / 60e-6) ** 2)
        carrier = np.exp(-4j * np.pi / 103e-6 * z)
        return (along_z * (echo * carrier)[:, None]) @ along_x.swapaxes(1, 2)

    swing = amplitude * np.sin(2 * np.pi * 2 * times + rng.uniform(0, 2 * np.pi))
    z, x = rng.uniform(-1e-3, 1e-3, (2, 1, 300))
    tissue = image(z + swing * (1 + 300 * z), x + 0.3 * swing, rng.standard_normal((300, 2)) @ [1, 1j])
    tissue *= 10 ** (35 / 20) / np.sqrt(np.mean(np.abs(tissue) ** 2))
    z, x = rng.uniform(-0.6e-3, 0.6e-3, (2, 1, 4))
    speed = np.array([[-12e-3, 7e-3, 9e-3, -6e-3]])
    bubbles = image(z + 0.8 * speed * times + swing, x + 0.6 * speed * times, np.ones(4))
    return tissue, bubbles, 0.1 * random_images(rng, bubbles.shape)


@pytest.mark.parametrize("amplitude", [1e-6, 10e-6])
@pytest.mark.parametrize(
    ("criterion", "frequencies"),
    [
        ("double_decay", {}),
        ("similarity", {}),
        ("frequency", {"pulse_repetition_frequency": 1000.0, "cutoff_frequency": 30.0}),
    ],
)
def test_the_filter_finds_by_itself_how_much_to_remove(criterion, frequencies, amplitude):
    tissue, bubbles, noise = moving_block(23, amplitude)
    block = (tissue + bubbles + noise).astype(np.complex64)
    found = adaptive_svd_filter(block, criterion=criterion, **frequencies)
    basis = np.linalg.svd(block.reshape(160, -1))[0]

    def without(part, n_removed):
        coefficients = basis[:, :n_removed].conj().T @ part.reshape(160, -1)
        return part - (basis[:, :n_removed] @ coefficients).reshape(part.shape)

    def error(n_removed):
        lost = bubbles - without(bubbles, n_removed)
        return np.sum(np.abs(without(tissue, n_removed)) ** 2) + np.sum(np.abs(lost) ** 2)

    best = min(range(20), key=error)
    assert abs(found.n_removed - best) <= 2
    assert found.n_kept == 160 - found.n_removed
    assert error(found.n_removed) < 0.3 * np.sum(np.abs(bubbles) ** 2)
    expected = sum(without(part, found.n_removed) for part in (tissue, bubbles, noise))
    assert np.linalg.norm(found.images - expected) < 1e-3 * np.linalg.norm(expected)


def test_the_noise_cut_takes_noise_and_leaves_strong_bubbles():
    tissue, bubbles, noise = moving_block(24, 5e-6)
    block = (tissue + bubbles + noise).astype(np.complex64)
    whole, cut = adaptive_svd_filter(block), adaptive_svd_filter(block, cut_noise=True)
    assert cut.n_removed == whole.n_removed
    assert cut.n_kept < 0.5 * whole.n_kept
    distance = [np.linalg.norm(filtered.images - bubbles) for filtered in (whole, cut)]
    assert distance[1] < 0.7 * distance[0]


def test_a_criterion_that_is_not_known_or_lacks_a_frequency_is_refused():
    iq = random_images(np.random.default_rng(25), (16, 8, 8))
    with pytest.raises(InputError, match="criterion: 'energy'"):
        adaptive_svd_filter(iq, criterion="energy")
    with pytest.raises(InputError, match="expected pulse_repetition_frequency and cutoff_frequency"):
        adaptive_svd_filter(iq, criterion="frequency", cutoff_frequency=10.0)
