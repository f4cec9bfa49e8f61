"""How strongly each bubble reflects, and that it is the same bubble in every cut, block after block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, norm, spearmanr

from ulmpipe.acoustics.reflectivity import bubble_radius, reflectivity_of_radius
from ulmpipe.configuration import load_configuration
from ulmpipe.io.stores import new_array, new_store, open_store
from ulmpipe.stages import channel_data, training_blocks
from ulmpipe.stages._bubbles import read_bubbles, read_reflectivity
from ulmpipe.stages._mosaic import block_bubbles, block_reflectivity, mosaic_of

DEFAULT = load_configuration(Path(__file__).parents[1] / "config/config.yaml").model_dump(mode="json")
SIZES = DEFAULT["bubbles"] | {"reflectivity": "size_distribution"}
N_FRAMES, N_ANGLES, DENSE = 16, 3, 20.0
MICRON = 1e-6


def parameters(**changes: Any) -> dict[str, Any]:
    sequence = DEFAULT["sequence"] | {"frames_per_block": N_FRAMES}
    return DEFAULT | {"seed": 1, "name": "cube", "bubbles": SIZES, "sequence": sequence, **changes}


class Blocks(dict):
    """Stored trajectories, in memory."""

    def __init__(self, n_bubbles: int = 30, n_blocks: int = 4, n_absent: int = 2) -> None:
        rng = np.random.default_rng(5)
        shape = (n_blocks, N_FRAMES * N_ANGLES, n_bubbles)
        life = np.zeros(shape, np.int16)
        life[:, 6:, 0] = 1  # a bubble is replaced between the second and the third frame, and again
        life[:, 30:, 0] = 2
        super().__init__(
            position=rng.uniform(-0.4e-3, 0.4e-3, (*shape, 3)).astype(np.float32),
            velocity=np.zeros((*shape, 3), np.float32),
            vessel=np.zeros(shape, np.int32),
            diameter=np.full(shape, 5e-6, np.float32),
            life=life,
            rank=rng.random((n_blocks, n_bubbles), dtype=np.float32),
        )
        self["rank"][:, 0] = 0.0
        if n_absent:
            self["rank"][:, -n_absent:] = np.inf
            self["life"][..., -n_absent:] = -1
        self.attrs = {"concentration_per_mm3": DENSE}


def reflectivity(blocks: Any, block: int = 0, *, concentration: float = DENSE, **changes: Any) -> np.ndarray:
    return read_reflectivity(parameters(**changes), blocks, block, concentration_per_mm3=concentration)


class TestRadius:
    def test_is_log_normal_about_the_median(self) -> None:
        quantile = np.random.default_rng(0).random(20_000)
        radius = bubble_radius(quantile, median_radius=MICRON, radius_spread=2.0, largest_radius=None)
        assert kstest(np.log2(radius / MICRON), "norm").pvalue > 1e-3

    def test_above_the_largest_does_not_occur_and_the_others_keep_their_proportions(self) -> None:
        quantile = np.random.default_rng(0).random(20_000)
        radius = bubble_radius(quantile, median_radius=MICRON, radius_spread=2.0, largest_radius=2 * MICRON)
        assert radius.max() <= 2 * MICRON
        below = norm.cdf(1.0)  # one standard deviation
        assert kstest(np.log2(radius / MICRON), lambda x: norm.cdf(x) / below).pvalue > 1e-3

    def test_by_default_has_the_published_distribution_of_sonovue(self) -> None:
        """Mean diameter about 2.5 µm, 90 % below 6 µm, 99 % below 11 µm, where it is cut."""
        quantile = (np.arange(200_000) + 0.5) / 200_000
        kinds = {name: SIZES[name] for name in ("median_radius", "radius_spread")}
        diameter = 2 * bubble_radius(quantile, largest_radius=None, **kinds) / MICRON
        assert diameter.mean() == pytest.approx(2.5, rel=0.02)
        assert np.mean(diameter < 6) >= 0.9
        assert np.mean(diameter < 11) == pytest.approx(0.99, abs=0.002)
        assert SIZES["largest_radius"] == pytest.approx(5.5 * MICRON)


@pytest.mark.parametrize("exponent", [1.0, 3.0])
def test_the_reflectivity_is_a_power_of_the_radius_and_1_at_the_median(exponent: float) -> None:
    radius = np.array([0.5, 1.0, 2.0]) * 0.94 * MICRON
    found = reflectivity_of_radius(radius, median_radius=0.94 * MICRON, exponent=exponent)
    np.testing.assert_allclose(found, [0.5**exponent, 1.0, 2.0**exponent], rtol=1e-6)


class TestBubble:
    def test_reflects_like_every_other_one_unless_asked_otherwise(self) -> None:
        found = reflectivity(Blocks(), bubbles={"reflectivity": "uniform"})
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.ones(28))

    def test_keeps_its_reflectivity_until_another_takes_its_place(self) -> None:
        found = reflectivity(Blocks())
        assert found.shape == (N_FRAMES, 28)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[:, 1:], np.broadcast_to(found[0, 1:], (N_FRAMES, 27)))
        place = found[:, np.flatnonzero(np.ptp(found, axis=0))]
        assert place.shape == (N_FRAMES, 1)
        np.testing.assert_array_equal(np.flatnonzero(np.diff(place[:, 0])), [1, 9])
        assert len(np.unique(place)) == 3

    @pytest.mark.parametrize("concentration", [1.0, 5.0, 15.0])
    def test_has_the_same_reflectivity_at_every_concentration(self, concentration: float) -> None:
        blocks = Blocks()
        dense, cut = reflectivity(blocks), reflectivity(blocks, concentration=concentration)
        kept = blocks["rank"][0, :28] < concentration / DENSE
        assert 0 < kept.sum() < 28
        np.testing.assert_array_equal(cut, dense[:, kept])

    def test_does_not_know_how_many_others_the_store_has_room_for(self) -> None:
        narrow, wide = Blocks(n_bubbles=30, n_absent=2), Blocks(n_bubbles=40, n_absent=12)
        for name in ("rank", "life"):
            wide[name][..., :28] = narrow[name][..., :28]
        np.testing.assert_array_equal(reflectivity(narrow, 1), reflectivity(wide, 1))

    def test_reflects_by_the_distribution_whatever_its_rank(self) -> None:
        blocks = Blocks(n_bubbles=400, n_blocks=10, n_absent=0)
        found = np.concatenate([reflectivity(blocks, block)[0] for block in range(10)])
        below = norm.cdf(np.log(5.5 / 0.94) / np.log(2.1))
        score = np.log(found) / np.log(2.1)
        assert kstest(score, lambda x: norm.cdf(x) / below).pvalue > 1e-3
        assert spearmanr(found, blocks["rank"].ravel()).pvalue > 1e-3

    @pytest.mark.parametrize("change", [{"seed": 2}, {"name": "other"}], ids=str)
    def test_of_another_seed_or_volume_is_another(self, change: dict[str, Any]) -> None:
        assert abs(spearmanr(reflectivity(Blocks())[0], reflectivity(Blocks(), **change)[0])[0]) < 0.6

    def test_of_another_block_is_another(self) -> None:
        assert abs(spearmanr(reflectivity(Blocks(), 0)[0], reflectivity(Blocks(), 1)[0])[0]) < 0.6

    def test_is_itself_in_a_mosaic_too(self) -> None:
        given = parameters(side=1e-3, acquisition={"concentration_per_mm3": 10.0, "n_blocks": 1})
        blocks = Blocks()
        placed = block_bubbles(given, blocks, mosaic_of(given), 0)
        found = block_reflectivity(given, blocks, 0)
        assert found.shape[-1] == placed.position.shape[1]
        expected = {}
        for tile in range(4):
            rank = read_bubbles(blocks, tile, concentration_per_mm3=DENSE).rank
            expected |= dict(zip(rank[1:].tolist(), reflectivity(blocks, tile)[0, 1:].tolist(), strict=True))
        for rank, strength in zip(placed.rank.tolist(), found[0].tolist(), strict=True):
            assert rank == 0.0 or strength == expected[rank]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Trajectories of one block with a single bubble, replaced once, at rest."""
    path = tmp_path / "trajectories.zarr"
    position = np.zeros((1, N_FRAMES * N_ANGLES, 1, 3), np.float32)
    life = np.zeros(position.shape[:3], np.int16)
    life[:, 24:] = 1
    arrays = {"position": position, "velocity": position, "vessel": life.astype(np.int32), "life": life}
    arrays["diameter"] = np.full(life.shape, 5e-6, np.float32)
    arrays["rank"] = np.zeros((1, 1), np.float32)
    with new_store(path, provenance={}) as store:
        store.attrs["concentration_per_mm3"] = DENSE
        for name, values in arrays.items():
            dims = tuple("abcd"[: values.ndim])
            new_array(store, name, shape=values.shape, dtype=str(values.dtype), dims=dims, units="1")[:] = (
                values
            )
    return path


def small(**changes: Any) -> dict[str, Any]:
    """No tissue and next to no noise, few elements."""
    return parameters(
        side=1e-3,
        probe=DEFAULT["probe"] | {"n_elements": 32},
        tissue=DEFAULT["tissue"] | {"reflectivity_db": None, "motion_amplitude": 0.0},
        noise={"snr_db": 60.0, "band": "sampled"},
        **changes,
    )


def test_channel_data_hold_echoes_as_strong_as_the_bubbles(stored: Path, tmp_path: Path) -> None:
    peaks = {}
    phantom = DEFAULT["phantom"] | {"mosaic": [1, 1]}
    acquisition = {"concentration_per_mm3": DENSE, "n_blocks": 1}
    for kind in ("uniform", "size_distribution"):
        given = small(bubbles=SIZES | {"reflectivity": kind}, phantom=phantom, acquisition=acquisition)
        channel_data.run(given, trajectories=stored, channel_data=tmp_path / f"{kind}.zarr")
        samples = open_store(tmp_path / f"{kind}.zarr", "samples")["samples"]
        moduli = np.hypot(*np.moveaxis(samples[0].astype(float) * samples.attrs["scale"], -1, 0))
        peaks[kind] = moduli.max(axis=(1, 2, 3))
    expected = reflectivity(open_store(stored, "rank"))[:, 0]
    assert expected[0] != expected[-1]
    np.testing.assert_allclose(peaks["size_distribution"] / peaks["uniform"], expected, rtol=0.01)


def test_training_blocks_hold_echoes_as_strong_as_the_bubbles(stored: Path) -> None:
    given = small(
        validation=True,
        training_set=DEFAULT["training_set"] | {"validation_concentrations_per_mm3": [DENSE]},
        targets=DEFAULT["targets"] | {"visibility_db": None},
    )
    seen = []

    def image(**arguments: Any) -> None:
        seen.append(arguments["reflectivity"])
        raise StopIteration

    scene = training_blocks._scene(given, 0)
    scene = replace(scene, simulate=image)
    with pytest.raises(StopIteration):
        training_blocks._block(given, scene, None, open_store(stored, "rank"), None, 0)
    np.testing.assert_array_equal(seen[0], reflectivity(open_store(stored, "rank")))
