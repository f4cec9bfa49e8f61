"""The head of velocities: it learns how fast and which way, from blocks of moving spots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import awake

from ulmpipe.errors import InputError
from ulmpipe.network import Augmentation, Light, TrainingSettings, build_network
from ulmpipe.network.dataset import VelocityDataset
from ulmpipe.network.inference import load_weights, save_weights
from ulmpipe.network.light import RealFront
from ulmpipe.network.velocity import (
    COLUMNS,
    SCALE,
    VelocityNetwork,
    build_velocity_network,
    infer_velocity,
    shorten,
    train_velocity,
    velocity_loss,
    velocity_of,
)

SIZE, N_FRAMES = 8, 16
PER_FRAME = 1e-3  # m/s of a bubble that moves by one pixel a frame


def _moving(n_blocks: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks with one bubble each, which crosses the middle on a straight line: maps, tracks, velocities."""
    rng = np.random.default_rng(seed)
    angle, speed = rng.uniform(0, 2 * np.pi, n_blocks), rng.choice([0.1, 0.4], n_blocks)
    moment = np.arange(N_FRAMES) - (N_FRAMES - 1) / 2
    z, x = (
        4 + rng.uniform(-0.5, 0.5, (n_blocks, 1)) + (speed * part)[:, None] * moment
        for part in (np.sin(angle), np.cos(angle))
    )
    rows = np.arange(SIZE) + 0.5
    distance = (rows[:, None] - z[..., None, None]) ** 2 + (rows - x[..., None, None]) ** 2
    spots = np.exp(-distance / 2 + 2j * z[..., None, None])
    maps = np.stack([spots.real, spots.imag], axis=1).astype(np.float16)
    tracks = np.zeros((n_blocks, 8 * SIZE, 8 * SIZE), bool)
    for block in range(n_blocks):
        tracks[block, (8 * z[block]).astype(int), (8 * x[block]).astype(int)] = True
    velocity = np.stack([speed * np.sin(angle), speed * np.cos(angle)], axis=1) * PER_FRAME
    return maps, tracks, (velocity[..., None, None] * tracks[:, None]).astype(np.float32)


def _set(n_blocks: int, *, seed: int, augmentation: Augmentation | None = None) -> VelocityDataset:
    maps, tracks, velocity = _moving(n_blocks, seed=seed)
    return VelocityDataset([maps], [tracks], [velocity], augmentation=augmentation, seed=7, phase="velocity")


def _network(*, frozen: bool = False) -> VelocityNetwork:
    torch.manual_seed(3)
    front = RealFront(n_folded=4, stem_width=16, width=16, stride=4)
    trunk = Light(front, fine_width=16, refine_width=4)
    return VelocityNetwork(trunk, frozen=frozen)


def _sure(network: VelocityNetwork) -> VelocityNetwork:
    """With residual blocks that look around, and a sure direction: one that is not turns by what rounding does."""
    torch.manual_seed(4)
    with torch.no_grad():
        network.velocity.bias[0::3] = 1.0
    return awake(network)


def test_it_learns_how_fast_and_which_way() -> None:
    network = _network()
    settings = TrainingSettings(n_epochs=12, batch_size=4, learning_rate=2e-3, precision="float32")
    # mirrored and backwards too: velocities that did not turn with the maps could not be learnt
    augmentation = Augmentation(rotate_phase=False)
    history = train_velocity(
        network, _set(96, seed=1, augmentation=augmentation), _set(16, seed=2), settings=settings
    )
    assert tuple(history[0]) == COLUMNS
    other = _set(40, seed=5)
    found, true = np.empty((2, 40)), np.empty((2, 40))
    for index in range(40):
        correlation, target = other[index]
        on_track = target[2].numpy() > 0
        answer = infer_velocity(network, correlation.numpy(), precision="float32")
        found[:, index] = np.median(answer[:, on_track], axis=1)
        true[:, index] = target[:2, on_track][:, 0]
    # depth first: the phase tells it; displacements along x take such a small network many more steps
    axial = np.abs(true[0]) > 0.5 * np.hypot(*true)
    assert np.mean((found * true)[0, axial] > 0) > 0.9
    assert np.corrcoef(found[0], true[0])[0, 1] > 0.75
    speed, fast = np.hypot(*found), np.hypot(*true) > 0.2 * PER_FRAME
    assert np.median(speed[fast]) == pytest.approx(0.4 * PER_FRAME, rel=0.25)
    assert np.median(speed[~fast]) == pytest.approx(0.1 * PER_FRAME, rel=0.25)


def test_a_frozen_trunk_stays_as_it_is_and_the_head_learns() -> None:
    network = _network(frozen=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    settings = TrainingSettings(n_epochs=3, batch_size=4, learning_rate=1e-2, precision="float32")
    history = train_velocity(network, _set(24, seed=1), _set(4, seed=2), settings=settings)
    assert history[-1]["training_loss"] < history[0]["training_loss"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("trunk."), name


def test_an_interrupted_training_ends_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ulmpipe.network.checkpoint import TrainingState

    settings = TrainingSettings(n_epochs=3, batch_size=4, learning_rate=1e-2, precision="float32")
    sets = [_set(8, seed=1, augmentation=Augmentation()), _set(4, seed=2)]
    straight = _network()
    reference = train_velocity(straight, *sets, settings=settings)
    save = TrainingState.save

    def save_and_end(state: TrainingState, *arguments: object) -> None:
        save(state, *arguments)
        raise KeyboardInterrupt

    checkpoint = {"checkpoint_path": tmp_path / "velocity.pt", "fingerprint": "a"}
    monkeypatch.setattr(TrainingState, "save", save_and_end)
    with pytest.raises(KeyboardInterrupt):
        train_velocity(_network(), *sets, settings=settings, **checkpoint)
    monkeypatch.setattr(TrainingState, "save", save)
    resumed = _network()
    rows = train_velocity(resumed, *sets, settings=settings, **checkpoint)
    timeless = [{name: row[name] for name in COLUMNS if name != "seconds"} for row in rows]
    assert timeless == [{name: row[name] for name in COLUMNS if name != "seconds"} for row in reference]
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_output_of_the_truth_is_the_true_velocity_and_has_no_loss() -> None:
    rng = np.random.default_rng(0)
    velocity = torch.from_numpy(rng.normal(0, 1, (2, 2, 4, 4)) * 10 ** rng.uniform(-5, -2, (2, 1, 4, 4)))
    speed = velocity.norm(dim=1, keepdim=True)
    output = torch.cat([velocity / speed, shorten(speed)], dim=1)
    torch.testing.assert_close(velocity_of(output), velocity)
    tracks = torch.zeros(2, 1, 4, 4, dtype=velocity.dtype)
    tracks[:, :, 1, 2] = 1
    target = torch.cat([velocity, tracks], dim=1)
    assert float(velocity_loss(output, target)) == pytest.approx(0, abs=1e-9)
    backwards = torch.cat([-output[:, :2], output[:, 2:]], dim=1)
    assert float(velocity_loss(backwards, target)) == pytest.approx(2)
    output[:, :, 0, 0] = 5.0  # no track
    assert float(velocity_loss(output, target)) == pytest.approx(0, abs=1e-9)
    assert float(velocity_loss(output, target * 0)) == 0
    assert float(shorten(torch.tensor(100 * SCALE))) == pytest.approx(np.log(200), rel=1e-4)


@pytest.mark.parametrize("name", ["light", "wide", "complex"])
def test_pieces_of_a_field_are_the_whole_field(name: str) -> None:
    network = _sure(build_velocity_network(name, seed=2))
    field = np.random.default_rng(1).standard_normal((2, 48, 20, 28)).astype(np.float32)
    whole = infer_velocity(network, field, precision="float32")
    assert whole.shape == (2, 160, 224)
    assert np.abs(whole).max() > 0
    pieces = infer_velocity(network, field, precision="float32", tile=12)
    np.testing.assert_allclose(pieces, whole, atol=1e-5 * np.abs(whole).max())


def test_answers_to_a_mirror_image_are_averaged_by_speed_and_direction_apart() -> None:
    network = _sure(build_velocity_network("light", seed=2))
    with torch.no_grad():  # it always says: to the right, which the mirror image turns to the left
        network.velocity.bias[1::3] = 4.0
        network.velocity.bias[0::3] = 0.1
    field = np.random.default_rng(1).standard_normal((2, 32, 8, 12)).astype(np.float32)
    found = infer_velocity(network, field, precision="float32", mirrored=True)
    mirrored = infer_velocity(network, field[..., ::-1], precision="float32", mirrored=True)
    scale = np.abs(found).max()
    np.testing.assert_allclose(mirrored[0, :, ::-1], found[0], atol=1e-5 * scale)
    np.testing.assert_allclose(mirrored[1, :, ::-1], -found[1], atol=1e-5 * scale)
    alone = [infer_velocity(network, each, precision="float32") for each in (field, field[..., ::-1])]
    speeds = np.hypot(*alone[0]), np.hypot(*alone[1])[:, ::-1]
    assert (np.hypot(*found) > np.minimum(*speeds) * (1 - 1e-4)).all()
    # the mean of the velocities themselves is slow
    of_velocities = (alone[0] + alone[1][..., ::-1] * np.array([1, -1])[:, None, None]) / 2
    assert (np.hypot(*of_velocities) < np.hypot(*found)).all()
    assert np.median(np.hypot(*of_velocities) / np.hypot(*found)) < 0.2


def test_validation_blocks_in_which_nothing_moves_are_refused_before_the_training() -> None:
    maps, tracks, velocity = _moving(4, seed=1)
    still = VelocityDataset([maps], [tracks], [0 * velocity])
    settings = TrainingSettings(n_epochs=1, batch_size=4, precision="float32")
    with pytest.raises(InputError, match="velocity: no bubble of the validation blocks moves"):
        train_velocity(_network(), _set(4, seed=2), still, settings=settings)


def test_weights_of_the_tracking_network_are_its_trunk_and_come_back_from_a_file(tmp_path: Path) -> None:
    tracking = build_network("light", seed=9)
    save_weights(tracking, tmp_path / "phase_2.safetensors", metadata={})
    network = build_velocity_network("light", seed=1)
    load_weights(network.trunk, tmp_path / "phase_2.safetensors")
    assert torch.equal(network.trunk.fine.weight, tracking.state_dict()["fine.weight"])
    save_weights(network, tmp_path / "velocity.safetensors", metadata={})
    other = build_velocity_network("light", seed=2)
    load_weights(other, tmp_path / "velocity.safetensors")
    assert torch.equal(other.velocity.weight, network.velocity.weight)


def test_the_paper_s_network_is_refused_in_one_line() -> None:
    with pytest.raises(
        InputError, match=r"^network.name: 'paper' has no velocities; expected light, wide or"
    ):
        build_velocity_network("paper", seed=0)


class TestAugmentation:
    """A changed block is a block of bubbles that move as its velocities say."""

    @pytest.mark.parametrize(
        ("wanted", "sign_z", "sign_x"),
        [
            ("mirror_lateral", 1, -1),
            ("reverse_time", -1, -1),
            ("mirror_depth", -1, 1),
            ("rotate_phase", 1, 1),
        ],
    )
    def test_velocities_turn_with_the_maps(self, wanted: str, sign_z: int, sign_x: int) -> None:
        only = {each: each == wanted for each in Augmentation.__dataclass_fields__}
        maps, tracks, velocity = _moving(1, seed=4)
        blocks = VelocityDataset([maps], [tracks], [velocity], augmentation=Augmentation(**only))
        before = _velocity_in(maps[0].astype(np.float32))
        changes = set()
        for blocks.epoch in range(8):
            correlation, target = blocks[0]
            found = _velocity_in(correlation.numpy())
            told = target[:2, target[2] > 0][:, 0].numpy()
            np.testing.assert_allclose(found, told, atol=0.03 * PER_FRAME)
            assert target[2].sum() == tracks.sum()
            assert (target[:2].abs().sum(dim=0) > 0).equal(target[2] > 0)
            changes.add(tuple(np.sign(found / before).astype(int)))
        assert changes == {(1, 1), (sign_z, sign_x)}

    def test_velocities_of_other_blocks_are_refused(self) -> None:
        maps, tracks, velocity = _moving(2, seed=4)
        with pytest.raises(InputError, match=r"training set: velocities \[\(2, 2, 64, 63\)\]"):
            VelocityDataset([maps], [tracks], [velocity[..., :-1]])


def _velocity_in(correlation: np.ndarray) -> np.ndarray:
    """Of the centre of mass of the spot from the first to the last frame, (z, x) m/s."""
    power = (correlation**2).sum(axis=0)
    rows = np.arange(SIZE)
    z, x = ((power.sum(axis=other) * rows).sum(axis=1) / power.sum(axis=(1, 2)) for other in (2, 1))
    return np.array([z[-1] - z[0], x[-1] - x[0]]) / (N_FRAMES - 1) * PER_FRAME
