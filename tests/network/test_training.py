"""The training loop: it learns, it resumes to the same numbers, it fails loudly."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ulmpipe.errors import InputError
from ulmpipe.network import (
    Augmentation,
    Light,
    TrackDataset,
    TrainingSettings,
    build_network,
    train,
    training,
)
from ulmpipe.network.devices import devices_of, is_first_process, lay_out_channels_last
from ulmpipe.network.light import RealFront
from ulmpipe.network.losses import LOSSES
from ulmpipe.network.schedule import learning_rate_factor
from ulmpipe.network.training import COLUMNS, _loaded, batches_of, validate

SETTINGS = TrainingSettings(n_epochs=4, batch_size=2, learning_rate=5e-3, precision="float32")


def _spots(n_blocks: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks with one resting bubble each, its phase fixed by its depth."""
    rng = np.random.default_rng(seed)
    z, x = rng.uniform(1, 7, (2, n_blocks))
    rows, columns = np.arange(8)[:, None] + 0.5, np.arange(8) + 0.5
    spots = np.exp(
        -((rows - z[:, None, None]) ** 2 + (columns - x[:, None, None]) ** 2) / 2 + 2j * z[:, None, None]
    )
    maps = np.stack([spots.real, spots.imag], axis=1)[:, :, None].repeat(16, axis=2).astype(np.float16)
    tracks = np.zeros((n_blocks, 64, 64), dtype=bool)
    for block, (row, column) in enumerate(zip((8 * z).astype(int), (8 * x).astype(int), strict=True)):
        tracks[block, row - 1 : row + 2, column - 1 : column + 2] = True
    return maps, tracks


def _sets(n_blocks: int = 8) -> tuple[TrackDataset, TrackDataset]:
    (maps, tracks), (other_maps, other_tracks) = _spots(n_blocks, seed=1), _spots(4, seed=2)
    training = TrackDataset([maps], [tracks], augmentation=Augmentation(), seed=7, phase="phase_1")
    return training, TrackDataset([other_maps], [other_tracks])


def _network() -> nn.Module:
    torch.manual_seed(3)
    return Light(RealFront(stem_width=8, width=16, n_blocks=1), fine_width=16, refine_width=4)


def test_a_small_network_learns_where_bubbles_rest() -> None:
    network = _network()
    training, validation = _sets(32)
    settings = TrainingSettings(n_epochs=16, batch_size=4, learning_rate=1e-2, precision="float32")
    before = validate(network, validation, settings=settings)[1]
    history = train(network, training, validation, settings=settings).history
    assert [row["epoch"] for row in history] == list(range(1, 17))
    assert tuple(history[0]) == COLUMNS
    after = validate(network, validation, settings=settings)[1]
    assert before < 0.1
    assert after > 0.4


def test_a_step_follows_the_joined_tracks_and_the_weighted_windows() -> None:
    (maps, tracks), rng = _spots(2, seed=1), np.random.default_rng(2)
    maps = np.repeat(maps, 16, axis=2)  # 256 frames, two windows
    windows = rng.integers(0, 2, (2, 2, 64, 64), dtype=np.uint8)
    blocks = TrackDataset([maps], [tracks], windows=[windows])
    settings = replace(SETTINGS, n_epochs=1, window_weight=0.3)
    network, expected = _network(), _network()
    history = train(network, blocks, TrackDataset([maps], [tracks]), settings=settings).history
    lay_out_channels_last(expected)
    order = blocks.order()
    logits = expected(torch.from_numpy(maps[order]).float(), windows=True)
    joined = LOSSES["bce_dice"](logits[:, :1], torch.from_numpy(tracks[order, None]).float())
    apart = LOSSES["bce_dice"](
        logits[:, 1:].flatten(0, 1)[:, None], torch.from_numpy(windows[order]).float().flatten(0, 1)[:, None]
    )
    (joined + 0.3 * apart).backward()
    for found, wanted in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-4, atol=1e-6)
    assert history[0]["training_loss"] == pytest.approx(float(joined.detach()), rel=1e-5)


def test_the_best_weights_are_left_in_the_network() -> None:
    network = _network()
    training, validation = _sets()
    history = train(network, training, validation, settings=SETTINGS).history
    best = min(row["validation_loss"] for row in history)
    assert validate(network, validation, settings=SETTINGS)[0] == pytest.approx(best, rel=1e-6)


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_an_interrupted_training_ends_with_the_same_numbers(tmp_path: Path, optimizer: str) -> None:
    straight, settings = _network(), replace(SETTINGS, optimizer=optimizer)
    reference = train(straight, *_sets(), settings=settings).history

    def kill_in_third_epoch(history: list[dict[str, float]]) -> None:
        if len(history) == 3:
            raise _KilledError  # after the epoch was computed, before its checkpoint

    path = tmp_path / "folder" / "phase_1.pt"
    with pytest.raises(_KilledError):
        train(
            _network(),
            *_sets(),
            settings=settings,
            checkpoint_path=path,
            fingerprint="a",
            on_epoch=kill_in_third_epoch,
        )
    resumed = _network()
    for parameter in resumed.parameters():
        nn.init.zeros_(parameter)  # nothing of the start may matter
    seen: list[int] = []
    history = train(
        resumed,
        *_sets(),
        settings=settings,
        checkpoint_path=path,
        fingerprint="a",
        on_epoch=lambda rows: seen.append(len(rows)),
    ).history
    assert seen == [3, 4]
    columns = [name for name in COLUMNS if name != "seconds"]
    assert [[row[name] for name in columns] for row in history] == [
        [row[name] for name in columns] for row in reference
    ]
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [file.name for file in path.parent.iterdir()] == ["phase_1.pt"]


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "settings": SETTINGS,
        "checkpoint_path": tmp_path / "c.pt",
        "fingerprint": "a",
    }
    network = _network()
    history = train(network, *_sets(), **arguments).history
    again = _network()
    repeated = train(again, *_sets(), on_epoch=lambda _: pytest.fail("trained again"), **arguments)
    assert repeated.history == history
    assert list(repeated.examples) == [1, 2, 4]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


@pytest.mark.parametrize("damage", ["fingerprint", "bytes"])
def test_a_checkpoint_that_does_not_belong_is_left_aside(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.pt"
    short = TrainingSettings(n_epochs=1, batch_size=4, precision="float32")
    train(_network(), *_sets(), settings=short, checkpoint_path=path, fingerprint="old")
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    epochs: list[int] = []
    with caplog.at_level(logging.WARNING):
        train(
            _network(),
            *_sets(),
            settings=short,
            checkpoint_path=path,
            fingerprint="old" if damage == "bytes" else "new",
            on_epoch=lambda rows: epochs.append(len(rows)),
        )
    assert epochs == [1]
    assert "starts anew" in caplog.text


@pytest.mark.parametrize("step", [0, -1])
def test_a_loss_that_is_not_a_number_stops_the_training_in_its_epoch(step: int) -> None:
    training, validation = _sets()
    assert len(training) % SETTINGS.batch_size == 0  # all blocks of the order are seen
    training.maps[0][training.order()[step]] = np.nan
    with pytest.raises(InputError, match=r"the loss is nan in epoch 1.*lower learning_rate"):
        train(_network(), training, validation, settings=SETTINGS, description="phase 1")


def test_3d_convolutions_are_not_trained_in_bfloat16_on_a_processor() -> None:
    settings = TrainingSettings(n_epochs=1, precision="bfloat16")
    with pytest.raises(InputError, match=r"bfloat16 for DeepSTULM on a processor; expected auto or float32"):
        train(build_network("paper", seed=0), *_sets(), settings=settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_compiled_network_trains_as_the_same_network_does() -> None:
    losses = [
        [row["training_loss"] for row in train(_network(), *_sets(), settings=settings).history]
        for settings in (SETTINGS, replace(SETTINGS, compile=True))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def _dead_network() -> nn.Module:
    network = _network()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network


def test_a_network_that_answers_every_pixel_alike_is_warned_of_and_refused_at_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "ENOUGH_STEPS", 10)
    settings = TrainingSettings(n_epochs=5, batch_size=4, precision="float32")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(
            InputError, match=r"phase_1: after 5 epochs every validation pixel is background; expected"
        ),
    ):
        train(_dead_network(), *_sets(), settings=settings, description="phase_1")
    assert caplog.text.count("has collapsed, or has only begun") == 4


def test_a_network_that_answers_alike_again_and_again_is_refused_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "ENOUGH_STEPS", 8)
    monkeypatch.setattr(training, "PATIENCE", 3)
    settings = TrainingSettings(n_epochs=50, batch_size=4, precision="float32", learning_rate=1e-9)
    seen: list[int] = []
    with pytest.raises(InputError, match="after 4 epochs every validation pixel is background"):
        # two steps an epoch: three epochs are six, too few for a judgement
        train(_dead_network(), *_sets(), settings=settings, on_epoch=lambda rows: seen.append(len(rows)))
    assert seen == [1, 2, 3, 4]


def test_a_network_that_answers_alike_but_learns_is_not_refused_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "ENOUGH_STEPS", 2)
    monkeypatch.setattr(training, "PATIENCE", 2)
    monkeypatch.setattr(training, "LITTLE", 2.0)  # any loss has fallen
    settings = TrainingSettings(n_epochs=5, batch_size=4, precision="float32", learning_rate=1e-9)
    with pytest.raises(InputError, match="after 5 epochs every validation pixel is background"):
        train(_dead_network(), *_sets(), settings=settings)


def test_epochs_of_one_answer_are_counted_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "ENOUGH_STEPS", 2)
    monkeypatch.setattr(training, "PATIENCE", 4)
    settings = TrainingSettings(n_epochs=50, batch_size=4, precision="float32", learning_rate=1e-9)
    again = {"settings": settings, "checkpoint_path": tmp_path / "state.pt", "fingerprint": "a"}
    for _ in range(2):  # the second goes on after the third epoch, the last that was kept
        with pytest.raises(InputError, match="after 4 epochs every validation pixel is background"):
            train(_dead_network(), *_sets(), **again)


@pytest.mark.parametrize("n_epochs", [5, 1])
def test_a_loss_that_does_not_fall_is_told_at_the_end_but_not_of_a_single_epoch(
    n_epochs: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "ENOUGH_STEPS", 2 * n_epochs)
    settings = TrainingSettings(n_epochs=n_epochs, batch_size=4, learning_rate=1e-9, precision="float32")
    network = _network()
    nn.init.zeros_(network.window_logits.bias)  # some pixels of either kind from the start
    with caplog.at_level(logging.WARNING):
        history = train(network, *_sets(), settings=settings, description="phase_1").history
    numbers = [f"{history[epoch]['training_loss']:.3f}" for epoch in (0, -1)]
    told = f"the training loss was {numbers[0]} in the first epoch and is {numbers[1]} in the last"
    assert (told in caplog.text) == (n_epochs > 1)


def test_examples_are_the_fullest_validation_block_after_some_epochs() -> None:
    network = _network()
    blocks, validation = _sets()
    settings = TrainingSettings(n_epochs=9, batch_size=2, learning_rate=5e-3, precision="float32")
    trained = train(network, blocks, validation, settings=settings)
    assert list(trained.examples) == [1, 2, 4, 8, 9]
    best = min(range(9), key=lambda epoch: trained.history[epoch]["validation_loss"]) + 1
    assert best in trained.examples  # so that the weights left in the network are those of an example
    with torch.inference_mode():
        expected = network.eval()(validation[validation.fullest()][0][None])[0, 0].sigmoid()
    np.testing.assert_allclose(trained.examples[best], 255 * expected, atol=0.6)
    assert trained.examples[1].shape == (64, 64)


def test_the_multistep_schedule_is_the_papers() -> None:
    settings = TrainingSettings(n_epochs=150, schedule="multistep", milestones=(15, 45, 75, 100))
    factors = [
        learning_rate_factor(settings, 10 * epoch, steps_per_epoch=10)
        for epoch in (0, 14, 15, 44, 45, 75, 100, 149)
    ]
    assert factors == pytest.approx([1, 1, 1e-1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-4])


def test_the_cosine_schedule_warms_up_and_ends_at_nothing() -> None:
    settings = TrainingSettings(n_epochs=10, warm_up=0.1)
    factors = [learning_rate_factor(settings, step, steps_per_epoch=10) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[55] == pytest.approx(0.5, abs=0.01)
    assert 0 < factors[-1] < 1e-3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schedule", "linear"),
        ("loss", "hinge"),
        ("precision", "int8"),
        ("n_epochs", 0),
        ("learning_rate", -1.0),
        ("window_weight", -0.5),
    ],
)
def test_settings_that_mean_nothing_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"training\.{field}: .*{value}"):
        TrainingSettings(**{field: value})  # type: ignore[arg-type]


def test_windows_that_network_or_training_set_lack_are_refused() -> None:
    maps, tracks = _spots(2, seed=1)
    with_windows = TrackDataset([maps], [tracks], windows=[tracks[:, None].astype(np.uint8)])
    for network, blocks in ((_network(), _sets()[0]), (build_network("paper", seed=0), with_windows)):
        with pytest.raises(InputError, match=r"training.window_weight: 1.0; expected 0, since"):
            train(network, blocks, _sets()[1], settings=replace(SETTINGS, window_weight=1.0))


def test_blocks_are_validated_by_their_joined_tracks() -> None:
    maps, tracks = _spots(3, seed=1)
    with_windows = TrackDataset([maps], [tracks], windows=[np.ones((3, 1, 64, 64), np.uint8)])
    found = validate(_network(), with_windows, settings=replace(SETTINGS, loss="dice"))
    assert found == validate(
        _network(), TrackDataset([maps], [tracks]), settings=replace(SETTINGS, loss="dice")
    )


def test_nothing_found_where_there_is_nothing_is_right() -> None:
    maps, tracks = _spots(2, seed=1)
    blocks = TrackDataset([maps], [np.zeros_like(tracks)])
    assert validate(_dead_network(), blocks, settings=SETTINGS).dice == 1.0
    assert validate(_dead_network(), TrackDataset([maps], [tracks]), settings=SETTINGS).dice == 0.0


def test_bfloat16_trains_too() -> None:
    settings = TrainingSettings(n_epochs=1, batch_size=4, gradient_norm=1.0, precision="bfloat16")
    history = train(_network(), *_sets(), settings=settings).history
    assert np.isfinite(history[0]["validation_loss"])


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("train_together.py")
    results = {}
    for name, launcher in (
        ("one", [sys.executable]),
        ("two", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        run = subprocess.run(
            [*launcher, str(script), str(folder)],
            capture_output=True,
            text=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert [file.name for file in (folder / "checkpoints").iterdir()] == ["c.pt"]
        results[name] = json.loads((folder / "trained.json").read_text())
        straight, resumed = results[name]["straight"]["Muon"], results[name]["resumed"]
        assert resumed["weights"] == straight["weights"]
        assert _numbers(resumed) == _numbers(straight)
    one, two = (results[name]["statistics"] for name in ("one", "two"))
    # the variance of half a batch is another one; the mean of the halves' means is the batch's
    np.testing.assert_allclose(two["running_mean"], one["running_mean"], atol=1e-6)
    assert min(one["running_mean"]) > 0.1
    for name, one in results["one"]["straight"].items():
        two = results["two"]["straight"][name]
        np.testing.assert_allclose(_numbers(two), _numbers(one), rtol=1e-5)
        for layer, weight in one["weights"].items():
            np.testing.assert_allclose(two["weights"][layer], weight, atol=1e-5)


def _numbers(trained: dict[str, Any]) -> list[list[float]]:
    return [[row[name] for name in COLUMNS if name != "seconds"] for row in trained["history"]]


def test_a_training_without_torchrun_is_alone_in_a_job_of_several_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = {
        "SLURM_NTASKS": "2",
        "SLURM_JOB_NAME": "job",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "RANK": "1",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    settings = TrainingSettings(n_epochs=1, batch_size=4, precision="float32")
    assert len(train(_network(), *_sets(), settings=settings).history) == 1
    assert is_first_process()


def test_a_batch_that_the_processes_cannot_share_is_refused() -> None:
    fabric = type("Two", (), {"world_size": 2, "global_rank": 0, "device": torch.device("cpu")})()
    with pytest.raises(InputError, match=r"training.batch_size: 3; expected a multiple of the 2 processes"):
        next(batches_of(fabric, _sets()[0], 3))


def test_batches_that_threads_make_ahead_are_the_same_in_the_same_order() -> None:
    train_set, _ = _sets()
    batches = [[3, 1], [0, 2], [1, 0], [2, 3], [0, 1], [3, 2]]
    alone, ahead = (list(_loaded(train_set, batches, ahead=number)) for number in (0, 3))
    assert len(ahead) == len(batches)
    for one, other in zip(alone, ahead, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(alone[0][0], alone[1][0])


def test_what_a_thread_cannot_read_ends_the_training() -> None:
    train_set, _ = _sets()
    batches = _loaded(train_set, [[0, 1], [2, len(train_set)]], ahead=2)
    next(batches)
    with pytest.raises(IndexError):
        next(batches)


def test_more_processes_than_gpus_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for name, value in (("TORCHELASTIC_RUN_ID", "a"), ("LOCAL_WORLD_SIZE", "4"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    with pytest.raises(
        InputError, match=r"training\.processes: 4; expected at most one for each of the 2 GPUs"
    ):
        devices_of(_network(), "float32")
