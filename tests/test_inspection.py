"""`ulmpipe inspect`: words and a picture of a user's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from ulmpipe import __main__ as command_line
from ulmpipe.figures.recordings import quick_look_figure
from ulmpipe.io.recordings import open_recording, quick_look

WORDS = {
    "kind": "iq",
    "axes": ["frame", "z", "x"],
    "samples": "complex",
    "units": {"length": "um"},
    "spacing": {"z": 25.0, "x": 25.0},
    "origin": {"z": 5000.0, "x": -500.0},
    "frame_rate": 1000.0,
}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two frames of 30 × 40 pixels, one of which is 60 dB above the others."""
    images = np.full((2, 30, 40), 1e-3, np.complex64)
    images[:, 20, 10] = 1
    np.save(tmp_path / "block_1.npy", images)
    (tmp_path / "block_1.yaml").write_text(yaml.safe_dump(WORDS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_inside_is_said_and_drawn(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["inspect", "block_*.npy"]) == 0
    said = capsys.readouterr().out
    assert "format: plain" in said
    assert "1 blocks of iq (frame, z, x): (2, 30, 40)" in said
    assert "frame_rate: 1000 Hz" in said
    assert "dynamic range of block 0: 60.0 dB" in said
    assert imread(recorded / "block_quick_look.png").std() > 0.1


def test_the_picture_is_to_scale(recorded: Path) -> None:
    recording = open_recording(recorded / "block_1.npy")
    figure = quick_look_figure(quick_look(recording), "iq", recording.scan, title="block")
    image = figure.axes[0].images[0]
    assert np.unravel_index(np.argmax(image.get_array()), (30, 40)) == (20, 10)
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == pytest.approx((-0.5125, 0.4875, 5.7375, 4.9875))  # mm, pixels' edges
    assert image.get_clim() == (-60, 0)


def test_a_file_that_cannot_be_opened_is_described_all_the_same(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recorded / "block_1.yaml").write_text(yaml.safe_dump({**WORDS, "frame_rate": None}))
    assert command_line.main(["inspect", "block_1.npy"]) == 0
    said = capsys.readouterr().out
    assert "(2, 30, 40) complex64" in said
    assert "not to be opened as it is" in said
    assert "frame_rate" in said
    assert not list(recorded.glob("*.png"))


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["inspect", str(tmp_path / "none.mat")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error in inspect: ")
    assert len(error.splitlines()) == 1
