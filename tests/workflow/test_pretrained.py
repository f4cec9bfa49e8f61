"""A model from elsewhere takes the place of training, and says what it was not made for."""

from __future__ import annotations

import json
import shlex

import pytest
from dry_runs import commands, prepare, would_run
from small_run import SMALL

from ulmpipe.configuration.models import read_model, unlike
from ulmpipe.errors import InputError
from ulmpipe.stages import pack_model

MADE_FOR = {
    "sequence": {"frame_rate": 1000.0, "n_cycles": 3, "frames_per_block": 512},
    "beamforming": {"pixel": 25e-6},
}


def packed(tmp_path, *weights):
    return write_model(tmp_path, MADE_FOR, *weights)


def write_model(tmp_path, made_for, *weights):
    """A packed model of files that are no model."""
    for name in (*weights, "operating_points.json"):
        (tmp_path / name).write_text(f'{{"name": "{name}"}}')
    pack_model.run(
        {"network": {"name": "complex", "input": "filtered"}, "made_for": made_for},
        models=[tmp_path / name for name in weights],
        operating_points=tmp_path / "operating_points.json",
        folder=tmp_path / "packed",
    )
    return tmp_path / "packed"


@pytest.fixture
def folder(tmp_path):
    return packed(tmp_path, "phase_2.safetensors")


def test_nothing_is_trained_and_only_the_test_volume_is_made(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    prepare(run)
    jobs = would_run(run, SMALL | {"model": str(folder)}, targets=("results/angio_20MB.png",))
    rules = {job.split(":")[0] for job in jobs}
    assert not rules & {"train", "training_blocks", "operating_points"}
    assert {"infer", "angiogram", "score", "render"} <= rules
    assert {job for job in jobs if job.startswith("vessel_graph")} == {"vessel_graph:synthetic_3"}


VELOCITIES = ("results/velocity/20MB_speed.png",)


def test_a_model_with_velocities_needs_no_training_for_them(tmp_path):
    folder, run = packed(tmp_path, "phase_2.safetensors", "velocity.safetensors"), tmp_path / "run"
    assert "velocity" in (folder / "velocity.safetensors").read_text()
    run.mkdir()
    prepare(run)
    jobs = would_run(run, SMALL | {"model": str(folder)}, targets=VELOCITIES)
    assert {"infer_velocity:20MB", "velocity_maps:20MB"} <= jobs
    assert not {job.split(":")[0] for job in jobs} & {"train_velocity", "training_blocks", "velocity_targets"}


def test_velocities_of_a_model_without_them_are_trained_on_from_its_weights(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    prepare(run)
    jobs = would_run(run, SMALL | {"model": str(folder)}, targets=VELOCITIES)
    assert "train_velocity" in jobs
    assert not any(job.startswith("train:") for job in jobs)


def test_velocities_are_packed_only_if_wanted(tmp_path):
    prepare(tmp_path)
    for wanted in (False, True):
        jobs = would_run(
            tmp_path, SMALL | {"velocity": {"packed": wanted}}, targets=("results/model/packed",)
        )
        assert ("train_velocity" in jobs) == wanted


def test_a_packed_model_knows_its_network_and_what_it_was_made_for(folder):
    model = read_model(folder)
    assert (model["network"], model["input"]) == ("complex", "filtered")
    assert list(unlike(MADE_FOR, model["made_for"])) == []
    other = {
        "sequence": {"frame_rate": 500.0, "n_cycles": 3, "frames_per_block": 512},
        "beamforming": {"pixel": 25e-6},
    }
    assert list(unlike(other, model["made_for"])) == [
        "sequence.frame_rate is 500.0, the model was trained with 1000.0"
    ]


def test_a_model_for_two_dimensions_says_so_in_json_that_anyone_reads(tmp_path):
    flat = {"probe": {"height": float("inf")}, "sequence": {"frames_per_block": 512}}
    write_model(tmp_path, flat, "phase_2.safetensors")
    read = json.loads((tmp_path / "packed/model.json").read_text(), parse_constant=pytest.fail)
    assert list(unlike(flat, read["made_for"])) == []
    (line,) = unlike(flat | {"probe": {"height": 1.5e-3}}, read["made_for"])
    assert line == "probe.height is 0.0015, the model was trained with inf"


def given_to_reconstruct(folder, tmp_path, changes):
    """Parameters of two stages of a run with a model."""
    run = tmp_path / "run"
    run.mkdir()
    prepare(run)
    jobs = commands(run, SMALL | {"model": str(folder)} | changes, ("results/angio_20MB.png",))
    words = {name: shlex.split(jobs[f"{name}:20MB"]) for name in ("correlate", "infer")}
    return {name: json.loads(each[each.index("--parameters") + 1]) for name, each in words.items()}


def test_a_model_of_before_there_was_a_choice_sees_correlation_maps(folder, tmp_path):
    described = json.loads((folder / "model.json").read_text())
    del described["input"]
    (folder / "model.json").write_text(json.dumps(described))
    assert read_model(folder)["input"] == "correlation"
    given = given_to_reconstruct(folder, tmp_path, {})
    assert given["correlate"]["maps"] == {"correlation": {"regularization": 1.0}}
    assert given["infer"]["network"]["input"] == "correlation"


def test_a_model_that_does_not_say_how_long_its_blocks_were_is_refused_in_one_line(folder):
    described = json.loads((folder / "model.json").read_text())
    del described["made_for"]["sequence"]["frames_per_block"]
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"model.json: made_for\.sequence\.frames_per_block: missing"):
        read_model(folder)


def test_a_model_that_looks_at_something_unknown_is_refused_in_one_line(folder):
    described = json.loads((folder / "model.json").read_text()) | {"input": None}
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"model.json: input: None; expected filtered or correlation"):
        read_model(folder)


def test_a_model_of_an_unknown_network_is_refused_in_one_line(folder):
    described = json.loads((folder / "model.json").read_text()) | {"network": "lite"}
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"model.json: network: 'lite'; expected light or wide or complex"):
        read_model(folder)


def test_a_section_that_this_version_does_not_have_differs(folder):
    assert list(unlike(MADE_FOR, {"lens": {"focus": 0.02}})) == [
        "lens.focus is None, the model was trained with 0.02"
    ]


RAT = {"recording": "rat.mat", "kind": "iq", "concentration_per_mm3": 5.0, "sequence": {"frame_rate": 250.0}}


@pytest.mark.parametrize("model", ["train", "pretrained"])
def test_what_differs_in_a_recording_is_said_at_the_start(tmp_path, model, capsys):
    prepare(tmp_path)
    (tmp_path / "rat.mat").touch()
    changes = {"model": model, "acquisitions": {"rat": RAT}}
    would_run(tmp_path, changes, targets=("results/angio_rat.png",))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert said == ["note: acquisitions.rat.sequence.frame_rate is 250.0, the model was trained with 1000.0"]


@pytest.mark.parametrize("key", ["model", "training.start"])
def test_what_a_run_packs_itself_is_not_what_it_begins_with(tmp_path, key):
    """It would train on its own weights at every call."""
    prepare(tmp_path)
    own = "./results/model/packed"
    changes = {"model": own} if key == "model" else {"training": {"start": own}}
    with pytest.raises(SystemExit, match=rf"{key}: '{own}' is where this run's own training is packed"):
        would_run(tmp_path, SMALL | changes, targets=("results/angio_20MB.png",))


def test_a_model_is_given_what_it_was_trained_on(folder, tmp_path):
    """Whatever the configuration says of a network's input."""
    other = {"network": {"name": "light", "input": "correlation"}}
    given = given_to_reconstruct(folder, tmp_path, other)
    assert given["correlate"]["maps"] == {"correlation": {"regularization": 1.0}, "filtered": {"window": 48}}
    assert (given["infer"]["network"]["name"], given["infer"]["network"]["input"]) == ("complex", "filtered")
    assert given["infer"]["trained_frames"] == 512


def test_velocities_are_not_trained_on_blocks_that_cannot_be(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    prepare(run)
    odd = SMALL | {"model": str(folder), "sequence": {"frames_per_block": 50}}
    assert "infer:20MB" in would_run(run, odd, targets=("results/angio_20MB.png",))
    with pytest.raises(
        SystemExit, match=r"frames_per_block: 50: expected a multiple of 16, since the model has no"
    ):
        would_run(run, odd, targets=VELOCITIES)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((), {"infer": 16, "infer_velocity": 16}), (("phase_2",), {"infer": 512, "infer_velocity": 16}),
     (("phase_2", "velocity"), {"infer": 512, "infer_velocity": 512})],
)  # fmt: skip
def test_each_network_is_shown_blocks_as_long_as_those_of_its_own_training(tmp_path, weights, expected):
    """Velocities of a model without them are trained on this run's blocks."""
    run = tmp_path / "run"
    run.mkdir()
    prepare(run)
    short = SMALL | {"sequence": {"frames_per_block": 16}}
    if weights:
        short |= {"model": str(packed(tmp_path, *(f"{name}.safetensors" for name in weights)))}
    jobs = commands(run, short, ("results/angio_20MB.png", *VELOCITIES))
    for stage, frames in expected.items():
        words = shlex.split(jobs[f"{stage}:20MB"])
        assert json.loads(words[words.index("--parameters") + 1])["trained_frames"] == frames


def test_a_folder_that_is_no_model_is_refused_in_one_line(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"packed' has no weights.safetensors; expected train, pretrained or"
    ):
        read_model(folder)


class TestStart:
    """`training.start`: phase 2 begins with a model from elsewhere."""

    def test_phase_1_is_left_out_and_phase_2_is_given_the_weights(self, folder, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        prepare(run)
        changes = SMALL | {
            "training": SMALL["training"] | {"start": str(folder)},
            "network": {"name": "complex"},
        }
        jobs = commands(run, changes, ("results/angio_20MB.png",))
        assert "train:phase_2" in jobs
        assert "train:phase_1" not in jobs
        words = shlex.split(jobs["train:phase_2"].replace("$(", " ").replace(")", " "))
        assert str(folder / "weights.safetensors") in words
        assert "operating_points" in jobs  # its thresholds are of the new weights
        assert str(folder / "operating_points.json") not in " ".join(jobs.values())

    @pytest.mark.parametrize(
        ("network", "said"),
        [
            ({"name": "light"}, r"network\.name: light; expected complex, as training\.start has"),
            (
                {"name": "complex", "input": "correlation"},
                r"network\.input: correlation; expected filtered, as training\.start has",
            ),
        ],
        ids=["name", "input"],
    )
    def test_a_model_of_another_network_is_refused_in_one_line(self, folder, tmp_path, network, said):
        run = tmp_path / "run"
        run.mkdir()
        prepare(run)
        changes = SMALL | {"training": SMALL["training"] | {"start": str(folder)}, "network": network}
        with pytest.raises(SystemExit, match=said):
            would_run(run, changes, targets=("results/angio_20MB.png",))
