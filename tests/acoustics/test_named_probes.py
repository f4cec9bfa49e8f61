"""The probes that come with the package, by name."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from ulmpipe.acoustics import Probe, named_probe, probe_names
from ulmpipe.acoustics.named_probes import probe_description
from ulmpipe.acoustics.probe_table import probe_table
from ulmpipe.errors import InputError


@pytest.mark.parametrize("name", probe_names())
def test_every_file_is_a_probe_with_a_source_and_nothing_else(name):
    assert isinstance(named_probe(name), Probe)
    description = probe_description(name)
    assert list(description) == [field.name for field in fields(Probe)] + ["source", "note"]
    assert len(description["source"]) > 20
    assert len(description["note"]) > 5


def test_the_l22_14v_is_that_of_milecki_2021():
    assert named_probe("L22-14v") == Probe(
        n_elements=128,
        pitch=0.1e-3,
        width=0.08e-3,
        height=1.5e-3,
        elevation_focus=8e-3,
        center_frequency=15.625e6,
        bandwidth=0.67,
        baffle="soft",
    )


def test_two_probes_are_those_of_pymust():
    pymust = pytest.importorskip("pymust")
    for name in ("L11-5v", "L12-3v"):
        expected, probe = pymust.getparam(name), named_probe(name)
        assert (probe.n_elements, probe.pitch, probe.width) == (
            expected.Nelements,
            expected.pitch,
            expected.width,
        )
        assert (probe.height, probe.elevation_focus) == (expected.height, expected.focus)
        assert (probe.center_frequency, probe.bandwidth) == (expected.fc, expected.bandwidth / 100)


def test_a_change_changes_that_figure_alone():
    changed = asdict(named_probe("L11-5v", pitch=0.4e-3))
    assert changed == asdict(named_probe("L11-5v")) | {"pitch": 0.4e-3}


def test_an_unknown_name_is_one_line_with_the_names():
    with pytest.raises(InputError) as caught:
        named_probe("L22")
    assert str(caught.value) == f"probe name: 'L22', expected one of {', '.join(probe_names())}"


def test_the_table_has_a_row_and_a_source_for_each_probe():
    rows, sources = probe_table().split("\n\n")
    assert (
        "L22-14v     128         0.1         0.08        1.5         8           15.625      67          soft"
        in rows
    )
    assert [row.split()[0] for row in rows.splitlines()[2:]] == probe_names()
    assert [line.split(":")[0] for line in sources.splitlines()] == probe_names()
