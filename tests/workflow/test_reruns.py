"""What is made again after a change, and what is not: dry runs on top of a pretended run."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from dry_runs import ROOT, commands, prepare, pretend, would_run

from ulmpipe import fingerprint
from ulmpipe.acoustics import named_probes

# from channel data to the picture, and from training blocks to the weights
IMAGING = {"beamform", "correlate", "register", "localize", "infer", "angiogram", "score", "render"}
TRAINING = {"training_blocks", "train", "operating_points"}
GEOMETRY = {"vessel_graph", "trajectories", "ground_truth"}
ACOUSTICS = {"point_spread", "channel_data", "ground_truth"}  # the truth is of bubbles that the probe sees
SMALL = {
    "volumes": {"train": ["synthetic_1"]},
    "training_set": {"blocks_per_volume": 8, "blocks_per_shard": 4},
    "correlation": {"point_spread_shape": [9, 11]},
    "evaluation": {"border": 32, "tolerance": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run: 20MB and 5MB, temporary files gone."""
    folder = tmp_path_factory.mktemp("finished")
    prepare(folder)
    pretend(folder, SMALL, targets=("results/angio_20MB.png", "results/angio_5MB.png"))
    return folder


@pytest.fixture(scope="module")
def with_channel_data(tmp_path_factory) -> Path:
    """A finished run that was told --notemp."""
    folder = tmp_path_factory.mktemp("with_channel_data")
    prepare(folder)
    pretend(folder, SMALL, notemp=True)
    return folder


def rules(jobs: set[str]) -> set[str]:
    return {job.split(":")[0] for job in jobs}


def changed(section: str, **values: object) -> dict[str, object]:
    return SMALL | {section: {**SMALL.get(section, {}), **values}}


def test_a_second_run_does_nothing(finished, with_channel_data):
    assert would_run(finished, SMALL) == set()
    assert would_run(with_channel_data, SMALL) == set()
    assert not (finished / "results/channel_data/20MB.zarr").exists()


def test_another_input_of_the_network_filters_again_and_makes_the_blocks_it_is_trained_on(finished):
    again = rules(would_run(finished, changed("network", input="correlation")))
    assert {"training_blocks", "train", "correlate", "infer"} <= again
    assert not again & {"trajectories", "vessel_graph", "point_spread"}


def test_another_correlation_for_the_expert_alone_trains_nothing_again(finished):
    again = rules(would_run(finished, changed("correlation", regularization=0.5)))
    assert {"correlate", "localize", "operating_points"} <= again
    assert not again & {"training_blocks", "train"}


def test_other_weights_of_windows_train_again_and_make_no_blocks(finished):
    again = rules(would_run(finished, changed("training", phase_1={"window_weight": 0.5})))
    assert {"train", "operating_points", "infer"} <= again
    assert not again & {"training_blocks", "correlate"}


def test_the_papers_network_has_no_windows_to_learn(finished):
    for name, weight in (("light", 1.0), ("paper", 0.0)):
        words = shlex.split(commands(finished, changed("network", name=name))["train:phase_1"])
        given = json.loads(words[words.index("--parameters") + 1])
        assert given["training"]["window_weight"] == weight


def test_another_window_of_the_scale_wider_than_training_blocks_trains_nothing_again(finished):
    again = rules(would_run(finished, changed("correlation", scale_window=64)))
    assert {"correlate", "infer", "score"} <= again
    assert not again & {"training_blocks", "train", "operating_points", "point_spread"}


def test_other_tracks_of_the_expert_train_and_infer_nothing_again(finished):
    again = rules(would_run(finished, changed("tracking", minimum_length=5)))
    assert again == {"localize", "operating_points", "angiogram", "score", "render"}
    choice = rules(would_run(finished, changed("tracking", scored=False)))
    assert choice == {"operating_points", "angiogram", "score", "render"}


def test_another_f_number_beamforms_again_and_simulates_the_channel_data_that_were_temporary(finished):
    again = rules(would_run(finished, changed("beamforming", f_number=2.5)))
    assert again == {"channel_data", "point_spread"} | IMAGING | TRAINING


def test_another_f_number_simulates_no_channel_data_that_were_kept(with_channel_data):
    again = rules(would_run(with_channel_data, changed("beamforming", f_number=2.5)))
    assert "beamform" in again
    assert not again & (GEOMETRY | {"channel_data"})


def test_another_probe_simulates_again_all_but_the_bubbles(finished):
    again = rules(would_run(finished, changed("probe", name="L11-5v")))
    assert again == ACOUSTICS | IMAGING | TRAINING


def test_the_same_figures_under_another_name_run_nothing(finished):
    figures = {"center_frequency": 15.625e6, "bandwidth": 0.67}
    assert would_run(finished, changed("probe", name="L22-14vX", **figures)) == set()


def test_another_figure_in_a_probe_s_file_simulates_again(finished, tmp_path, monkeypatch):
    probes = tmp_path / "probes"
    shutil.copytree(ROOT / "src/ulmpipe/acoustics/probes", probes)
    monkeypatch.setattr(named_probes, "FOLDER", probes)
    file = probes / "L22-14v.yaml"
    file.write_text(file.read_text().replace("note: >-", "note: >-\n  Reworded."))
    assert would_run(finished, SMALL) == set()
    file.write_text(file.read_text().replace("bandwidth: 0.67", "bandwidth: 0.5"))
    assert rules(would_run(finished, SMALL)) == ACOUSTICS | IMAGING | TRAINING


def test_a_setting_of_phase_2_trains_phase_2_again_and_what_follows(finished):
    phase_2 = {"n_epochs": 7, "batch_size": 4, "learning_rate": 1.0e-3, "schedule": "cosine", "loss": "dice"}
    again = would_run(finished, changed("training", phase_2=phase_2))
    assert "train:phase_2" in again
    assert "train:phase_1" not in again
    assert rules(again) == {"train", "operating_points", "infer", "angiogram", "score", "render"}


def test_blocks_are_registered_on_tissue_or_on_the_expert_s_bubbles(finished):
    again = would_run(finished, changed("registration", images="localizations"))
    assert rules(again) == {"register", "angiogram", "score", "render"}
    (folder := finished / "results/detections/20MB_expert.zarr").rename(finished / "aside")
    on_tissue, on_bubbles = (
        would_run(
            finished, changed("registration", images=images), targets=("results/registration/20MB.json",)
        )
        for images in ("tissue", "localizations")
    )
    (finished / "aside").rename(folder)
    assert rules(on_tissue) == set()
    assert rules(on_bubbles) == {"localize", "register"}


def test_another_colour_map_draws_only_the_picture(finished):
    assert would_run(finished, changed("figure", colormap="viridis")) == {"render:20MB"}


@pytest.mark.parametrize(
    "change",
    [("noise", {"band": "probe"}), ("bubbles", {"reflectivity": "size_distribution"})],
    ids=["noise", "bubbles"],
)
def test_other_noise_or_other_reflectivities_simulate_again_what_the_same_bubbles_send_back(finished, change):
    section, values = change
    again = rules(would_run(finished, changed(section, **values)))
    assert again == {"channel_data"} | IMAGING | TRAINING


def test_the_sizes_of_bubbles_that_are_all_alike_are_no_reason_to_simulate_again(finished):
    assert would_run(finished, changed("bubbles", radius_spread=1.5, reflectivity_exponent=3.0)) == set()


def test_two_numbers_that_change_places_are_noticed(finished):
    """Snakemake compares the values of params as a set: {border: 32, tolerance: 1} and its swap would be equal."""
    again = rules(would_run(finished, changed("evaluation", border=1, tolerance=32)))
    assert again == {"operating_points", "angiogram", "score", "render"}
    assert "point_spread" in rules(would_run(finished, changed("correlation", point_spread_shape=[11, 9])))


def test_more_blocks_of_one_acquisition_leave_the_others_alone(finished):
    both = ("results/angio_20MB.png", "results/angio_5MB.png")
    more = SMALL | {"acquisitions": {"5MB": {"n_blocks": 64}}}
    again = would_run(finished, more, targets=both)
    assert {"channel_data:5MB", "trajectories:synthetic_3_5MB", "render:5MB"} <= again
    assert {job for job in again if "20MB" in job} == set()
    assert not rules(again) & TRAINING


def test_a_larger_shard_does_not_touch_the_acquisitions(finished):
    again = rules(would_run(finished, changed("training_set", blocks_per_shard=8)))
    assert "training_blocks" in again
    assert not again & (GEOMETRY | {"channel_data", "beamform", "correlate"})


class TestSource:
    """A change of the program."""

    @pytest.fixture
    def source(self, tmp_path, monkeypatch) -> Path:
        """A copy of the package, which the fingerprints are taken of."""
        copy = tmp_path / "ulmpipe"
        shutil.copytree(ROOT / "src/ulmpipe", copy, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(fingerprint, "ROOT", copy)
        return copy

    def test_of_a_stage_runs_that_stage_and_what_follows(self, finished, source):
        stage = source / "stages/register.py"
        stage.write_text(stage.read_text() + "\nMORE = 1\n")
        assert rules(would_run(finished, SMALL)) == {"register", "angiogram", "score", "render"}

    def test_of_a_module_that_a_stage_imports_runs_that_stage(self, finished, source):
        module = source / "figures/diagnostics.py"
        module.write_text(module.read_text() + "\nMORE = 1\n")
        again = would_run(finished, SMALL)
        assert again == {"render:20MB"}

    def test_of_comments_docstrings_and_layout_runs_nothing(self, finished, source):
        for stage in (source / "stages").glob("*.py"):
            text = stage.read_text().replace('"""', '"""Reworded. ', 1)
            stage.write_text("# a comment\n\n" + text + "\n\n# another one\n")
        assert would_run(finished, SMALL) == set()
