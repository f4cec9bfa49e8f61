"""Provenance: an output knows what it was made from, back to the first stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from ulmpipe.errors import InputError
from ulmpipe.io.stores import identity, identity_of, new_array, new_store, provenance, write_json


def store(path: Path, parameters: dict[str, object], *inputs: Path) -> Path:
    with new_store(path, provenance=provenance("stage", parameters, *inputs)) as group:
        new_array(group, "values", shape=(1, 1), dtype="int8", dims=("block", "x"), units="1")[0] = 1
    return path


def test_the_identity_of_a_store_changes_with_what_its_inputs_were_made_of(tmp_path: Path) -> None:
    first, other = store(tmp_path / "a.zarr", {"flow": 1}), store(tmp_path / "b.zarr", {"flow": 2})
    same = store(tmp_path / "c.zarr", {"flow": 1})
    derived = [store(tmp_path / f"d{n}.zarr", {"n": 3}, each) for n, each in enumerate((first, other, same))]
    assert identity(derived[0]) == identity(derived[2])
    assert identity(derived[0]) != identity(derived[1])


def test_the_identity_of_a_users_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    graph = tmp_path / "graph.swc"
    graph.write_text("1 0 0 0 0 1 -1\n")
    before = identity_of(provenance("vessel_graph", {}, graph))
    graph.write_text("1 0 0 0 0 2 -1\n")
    assert identity_of(provenance("vessel_graph", {}, graph)) != before


def test_version_and_commit_do_not_count(tmp_path: Path) -> None:
    made = provenance("stage", {"n": 1})
    assert identity_of({**made, "commit": "another", "version": "9"}) == identity_of(made)


def test_an_infinite_parameter_stays_json(tmp_path: Path) -> None:
    made = provenance("stage", {"probe": {"height": float("inf"), "angles": [0.0, -float("inf")]}})
    write_json(tmp_path / "a.json", {"provenance": made})
    assert made["parameters"] == {"probe": {"height": "inf", "angles": [0.0, "-inf"]}}
    assert identity(tmp_path / "a.json") == identity_of(made)


def test_json_carries_its_provenance(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        write_json(tmp_path / f"{name}.json", {"provenance": provenance("stage", {"n": value})})
    assert identity(tmp_path / "a.json") != identity(tmp_path / "b.json")


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.swc"):
        identity(tmp_path / "none.swc")
