"""Every configuration that is delivered is valid, and every mistake is one line naming file, field and value."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from ulmpipe.acoustics import named_probe, probe_names
from ulmpipe.configuration import Configuration, check_graph_files, load_configuration
from ulmpipe.configuration.reference import generated_files
from ulmpipe.errors import InputError

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "config/config.yaml"
PAPER_S_PROBE = {
    "n_elements": 128,
    "pitch": 0.1e-3,
    "width": 0.08e-3,
    "height": 1.5e-3,
    "elevation_focus": 8e-3,
    "center_frequency": 15.625e6,
    "bandwidth": 0.67,
    "baffle": "soft",
}


def mistake(folder: Path, text: str) -> str:
    """What is said of the default configuration overridden by `text`."""
    path = folder / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_configuration(DEFAULT, path)
    return str(caught.value).replace(str(path), "mine.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_delivered_configuration_is_valid(path):
    load_configuration(*dict.fromkeys([DEFAULT, path]))


def test_schema_and_documentation_are_in_step_with_the_sections():
    for path, text in generated_files().items():
        assert path.read_text() == text, f"{path} is out of date: run python -m ulmpipe.configuration"


def test_the_paper_s_configuration_has_the_paper_s_numbers():
    settings = load_configuration(DEFAULT, ROOT / "config/paper.yaml")
    blocks = settings.training_set.blocks_per_volume + settings.training_set.validation_blocks_per_volume
    assert len(settings.volumes.train) * blocks == 2500
    assert settings.network.name == "paper"
    assert settings.training.phase_1.milestones == [15, 45, 75, 100]
    assert settings.training.phase_2.milestones == [10, 50, 100]
    assert {each.n_blocks for each in settings.acquisitions.values()} == {800}


def test_both_configurations_of_the_paper_have_its_volumes_and_conditions():
    whole, ours = (
        load_configuration(DEFAULT, ROOT / f"config/{name}.yaml") for name in ("paper", "paper_conditions")
    )
    alike = (
        "volumes",
        "graphs",
        "probe",
        "sequence",
        "tissue",
        "noise",
        "clutter_filter",
        "correlation",
        "targets",
    )
    for section in alike:
        assert getattr(whole, section) == getattr(ours, section)
    assert whole.probe.height == float("inf")
    assert (whole.tissue.reflectivity_db, whole.noise.snr_db, whole.targets.visibility_db) == (
        None,
        None,
        None,
    )
    assert whole.clutter_filter.n_removed == 0


def test_the_real_graphs_are_trained_on_for_3000_steps_or_more():
    settings = load_configuration(DEFAULT, ROOT / "config/mouse_cortex.yaml")
    n_blocks = len(settings.volumes.train) * settings.training_set.blocks_per_volume
    phases = (settings.training.phase_1, settings.training.phase_2)
    assert sum(phase.n_epochs * (n_blocks // phase.batch_size) for phase in phases) >= 3000
    assert settings.volumes.test not in settings.volumes.train


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "beamforming: {f_numbr: 2.0}",
            "mine.yaml: beamforming.f_numbr: unknown key (value 2.0); did you mean 'f_number'?",
        ),
        ("beamfroming: {}", "mine.yaml: beamfroming: unknown key (value {}); did you mean 'beamforming'?"),
        (
            "acquisitions: {20MB: {concentration_per_mm3: -5.0}}",
            "mine.yaml: acquisitions.20MB.concentration_per_mm3: -5.0: expected a value greater than or equal to 0",
        ),
        (
            "training: {phase_1: {learning_rate: 1e-3}}",
            "mine.yaml: training.phase_1.learning_rate: '1e-3' is text, expected a number "
            "(YAML reads 1e-3 as text: write 1.0e-3)",
        ),
        (
            "training: {phase_2: {n_epochs: 1.5}}",
            "mine.yaml: training.phase_2.n_epochs: 1.5: expected a valid integer",
        ),
        (
            "network: {name: bigger}",
            "mine.yaml: network.name: 'bigger': expected 'light', 'wide', 'complex' or 'paper'",
        ),
        (
            "training: {processes: 4}",
            "mine.yaml: training.phase_1.batch_size: 2: expected a multiple of the 4 processes",
        ),
        ("probe: {pitch: .nan}", "mine.yaml: probe.pitch: nan: expected a finite number"),
        (
            "probe: {name: L22}",
            f"mine.yaml: probe.name: 'L22', expected one of {', '.join(probe_names())}",
        ),
        (
            "probe: {name: L11-5v, ptich: 2.0e-4}",
            "mine.yaml: probe.ptich: unknown key (value 0.0002); did you mean 'pitch'?",
        ),
        ("probe: {pitch: 5.0e-5}", "mine.yaml: probe.width: 8e-05 m is more than the pitch, 5e-05 m"),
        (
            "correlation: {point_spread_shape: [9, 10]}",
            "mine.yaml: correlation.point_spread_shape: [9, 10]: both sizes must be odd",
        ),
        (
            "sequence: {frames_per_block: 500}",
            "mine.yaml: sequence.frames_per_block: 500: expected a multiple of 16 to train on; recordings may have "
            "others (acquisitions.NAME.sequence), and all may with model: pretrained",
        ),
        (
            "sequence: {angles_deg: [-1.0, 0.0, 1.0, 95.0]}",
            "mine.yaml: sequence.angles_deg.3: 95.0: expected a value less than 60",
        ),
        (
            "graphs: {mine: {source: file, path: a.swc}}",
            "mine.yaml: graphs.mine.voxel_size: missing",
        ),
        (
            "volumes: {test: synthetic_9}",
            "mine.yaml: volumes.test: 'synthetic_9' is not one of graphs: "
            "synthetic_1, synthetic_2, synthetic_3",
        ),
        (
            "volumes: {test: synthetic_1}",
            "mine.yaml: volumes.test: 'synthetic_1' is also in volumes.train; expected a graph of its own",
        ),
        (
            "sequence: {frame_rate: 2000.0}",
            "mine.yaml: sequence.frame_rate: 2000.0 Hz: 3 angles at 3000.0 Hz do not fit in a frame",
        ),
        (
            "training_set: {window: 64}",
            "mine.yaml: training_set.window: 64 pixels (1.6 mm) are wider than the volume (1 mm)",
        ),
        (
            "training_set: {validation_concentrations_per_mm3: [1.0, 2.0, 5.0, 10.0, 20.0]}",
            "mine.yaml: training_set.validation_concentrations_per_mm3 [1.0, 2.0, 5.0, 10.0, 20.0]: the 40 validation "
            "blocks of a volume have 4 rotations of 10; expected one for each concentration at least",
        ),
        (
            "inference: {mode: sliding_window, stride: 25}",
            "mine.yaml: inference.stride: 25 pixels; expected at most 24, since windows of 32 less inference.crop on "
            "both sides leave gaps otherwise",
        ),
        (
            "{inference: {mode: sliding_window}, training_set: {window: 16}, evaluation: {border: 8}}",
            "mine.yaml: training_set.window: 16 pixels; expected at least 32, those of the sliding windows that "
            "inference.mode asks for",
        ),
        (
            "{inference: {crop: 140}, training_set: {window: 40}}",
            "mine.yaml: inference.crop: 140 fine pixels on both sides leave nothing of a window of 32 pixels",
        ),
        (
            "tissue: {motion_amplitude: 50.0e-6}",
            "mine.yaml: tissue.motion_amplitude: 5e-05 m needs tissue.n_states of at least 17, not 6",
        ),
        (
            "bubbles: {reflectivity: sizes}",
            "mine.yaml: bubbles.reflectivity: 'sizes': expected 'uniform' or 'size_distribution'",
        ),
        (
            "bubbles: {radius_spread: 1.0}",
            "mine.yaml: bubbles.radius_spread: 1.0: expected a value greater than 1",
        ),
        (
            "bubbles: {largest_radius: 0.5e-6}",
            "mine.yaml: bubbles.largest_radius: 5e-07 m: expected more than the median_radius, 9.4e-07 m, or null",
        ),
        ("noise: {band: pink}", "mine.yaml: noise.band: 'pink': expected 'sampled' or 'probe'"),
        (
            "measures: {regions: {cortex: [1.0e-3, 0.0, 7.0e-3, 8.0e-3]}}",
            "mine.yaml: measures.regions.cortex: [0.001, 0.0, 0.007, 0.008]: expected x left < right and "
            "z top < bottom",
        ),
        (
            "measures: {regions: {cortex: [0.0, 1.0e-3, 7.95e-3, 8.0e-3]}}",
            "mine.yaml: measures.regions.cortex: 5e-05 m wide, expected at least 32 fine pixels (0.0001 m) for the "
            "Fourier ring correlation",
        ),
        (
            "{track_maps: {pixel: 10.0e-6}, measures: {tile: 0.3e-3}}",
            "mine.yaml: measures.tile: 0.0003 m wide, expected at least 32 fine pixels (0.00032 m) for the Fourier "
            "ring correlation",
        ),
        ("- a list", "mine.yaml: ['a list']: expected sections, as in config/config.yaml"),
    ],
    ids=lambda text: text.split(":")[0] if text.startswith("mine") else None,
)
def test_a_mistake_is_one_line_naming_file_field_and_value(tmp_path, text, message):
    assert mistake(tmp_path, text) == message


def settings_with(folder: Path, probe: str) -> Configuration:
    path = folder / "mine.yaml"
    path.write_text(f"probe: {probe}")
    return load_configuration(DEFAULT, path)


def test_the_default_probe_is_that_of_the_paper():
    assert load_configuration(DEFAULT).model_dump()["probe"] == PAPER_S_PROBE


def test_a_name_in_a_file_of_one_s_own_is_that_probe_and_nothing_of_the_default_s(tmp_path):
    assert settings_with(tmp_path, "{name: L11-5v}").model_dump()["probe"] == asdict(named_probe("L11-5v"))


def test_a_figure_beside_or_without_a_name_overrides_the_named_probe_s(tmp_path):
    beside = settings_with(tmp_path, "{name: L11-5v, height: 4.0e-3}")
    assert beside.model_dump()["probe"] == asdict(named_probe("L11-5v", height=4e-3))
    without = settings_with(tmp_path, "{n_elements: 64}")
    assert without.model_dump()["probe"] == PAPER_S_PROBE | {"n_elements": 64}


def test_a_probe_of_one_s_own_needs_no_name(tmp_path):
    figures = PAPER_S_PROBE | {"pitch": 0.2e-3, "baffle": "rigid"}
    settings = settings_with(tmp_path, yaml.safe_dump({"name": None} | figures, default_flow_style=True))
    assert settings.model_dump()["probe"] == figures


def test_without_a_name_every_missing_figure_has_its_line(tmp_path):
    figures = {key: value for key, value in PAPER_S_PROBE.items() if key not in ("height", "bandwidth")}
    said = mistake(tmp_path, yaml.safe_dump({"probe": {"name": None} | figures}))
    assert said.splitlines() == ["mine.yaml: probe.height: missing", "mine.yaml: probe.bandwidth: missing"]


def test_every_mistake_has_its_own_line(tmp_path):
    said = mistake(tmp_path, "noise: {snr_db: loud}\nmedium: {speed_of_sound: 0.0}").splitlines()
    assert [line.split(": ")[1] for line in said] == ["medium.speed_of_sound", "noise.snr_db"]


@pytest.mark.parametrize(
    "text",
    [
        "{model: pretrained, sequence: {frames_per_block: 500}}",
        "acquisitions: {rat: {recording: rat.mat, kind: iq, concentration_per_mm3: 5.0, "
        "sequence: {frames_per_block: 500}}}",
    ],
    ids=["pretrained", "recording"],
)
def test_blocks_that_nothing_is_trained_on_may_have_any_number_of_frames(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    settings = load_configuration(DEFAULT, tmp_path / "mine.yaml")
    of_recording = "rat" in settings.recordings
    sequence = settings.section_of("rat", "sequence") if of_recording else settings.sequence
    assert sequence.frames_per_block == 500


def test_speeds_by_a_table_need_the_table(tmp_path):
    assert mistake(tmp_path, "flow: {speed: table}").startswith(
        "mine.yaml: flow.velocity_table: none, expected pairs"
    )


def test_malformed_yaml_is_one_line(tmp_path):
    said = mistake(tmp_path, "beamforming: {pixel: [")
    assert said.startswith("mine.yaml: not valid YAML (")
    assert "\n" not in said


def test_a_missing_configuration_or_graph_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml: no such file"):
        load_configuration(DEFAULT, tmp_path / "nothing.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(
        "volumes: {test: mine}\n"
        "graphs: {mine: {source: file, path: nowhere.swc, voxel_size: [1.0e-6, 1.0e-6, 1.0e-6]}}"
    )
    settings = load_configuration(DEFAULT, path)
    with pytest.raises(
        InputError, match=r"^configuration: graphs\.mine\.path: 'nowhere\.swc': no such file$"
    ):
        check_graph_files(settings)
