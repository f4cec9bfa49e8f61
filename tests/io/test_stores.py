"""Stores are whole or absent, and what is damaged afterwards is refused before anything is computed from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ulmpipe.errors import InputError
from ulmpipe.io.stores import (
    alone,
    check_nobody_writes,
    complete_or_absent,
    new_array,
    new_store,
    open_store,
    provenance,
    read_block,
    read_json,
    write_json,
    writing_behind,
)


def write_numbers(path, values, *, written=None):
    with new_store(path, provenance=provenance("test", {"seed": 1})) as store:
        new_array(
            store, "numbers", shape=values.shape, dtype=str(values.dtype), dims=("block", "x"), units="m"
        )
        for block in range(len(values) if written is None else written):
            store["numbers"][block] = values[block]


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(3, 100))


@pytest.fixture
def store(tmp_path, values):
    path = tmp_path / "numbers.zarr"
    write_numbers(path, values)
    return path


def left_over(folder):
    """What is not an output: partial stores and locks."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_store_comes_back_with_units_and_provenance(store, values):
    array = open_store(store, "numbers")["numbers"]
    np.testing.assert_array_equal(array[:], values)
    assert array.attrs["units"] == "m"
    assert open_store(store).attrs["provenance"]["parameters"] == {"seed": 1}
    assert left_over(store.parent) == []


def test_a_failing_writer_keeps_the_earlier_store_and_leaves_nothing(store, values):
    with pytest.raises(IndexError):
        write_numbers(store, values + 1, written=4)
    np.testing.assert_array_equal(open_store(store)["numbers"][:], values)
    assert left_over(store.parent) == []


def test_a_store_of_which_a_block_was_never_written_does_not_appear(tmp_path, values):
    with pytest.raises(RuntimeError, match="2 of 3 chunks"):
        write_numbers(tmp_path / "numbers.zarr", values, written=2)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_never_read(tmp_path, values):
    path = tmp_path / "numbers.zarr"
    killed = (
        "import os, signal, sys; from ulmpipe.io.stores import new_store, new_array\n"
        "with new_store(sys.argv[1], provenance={}) as store:\n"
        "    array = new_array(store, 'numbers', shape=(3, 9), dtype='f8', dims=('block', 'x'), units='m')\n"
        "    array[0] = 1.0\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", killed, path], check=False).returncode == -9
    (partial,) = tmp_path.glob(".numbers.partial-*.zarr")
    with pytest.raises(InputError, match="no such store"):
        open_store(path)
    with pytest.raises(InputError, match="incomplete"):
        open_store(partial)
    write_numbers(path, values)
    assert left_over(tmp_path) == []


def test_two_writers_of_one_output_do_not_mix(tmp_path):
    path = tmp_path / "numbers.json"
    with complete_or_absent(path) as temporary:
        temporary.write_text("{}")
        with pytest.raises(InputError, match=f"numbers.json: process {os.getpid()} is writing it"):
            write_json(path, {"a": 1})
    assert read_json(path) == {}
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}


def test_a_writer_whose_folder_was_removed_leaves_the_new_one_alone(tmp_path, values):
    """Somebody ends a run, but not a stage of it, removes the results and begins anew."""
    path = tmp_path / "results" / "numbers.zarr"
    anew = (
        "import sys, numpy; sys.path.append(sys.argv[2]); from test_stores import write_numbers\n"
        "write_numbers(sys.argv[1], numpy.ones((3, 100)))"
    )
    removed = r"numbers.zarr: its folder was removed while it was being written"
    with pytest.raises(InputError, match=removed), new_store(path, provenance={}) as store:  # noqa: PT012
        array = new_array(store, "numbers", shape=(3, 100), dtype="f8", dims=("block", "x"), units="m")
        array[0] = values[0]
        shutil.rmtree(path.parent)
        subprocess.run([sys.executable, "-c", anew, path, os.path.dirname(__file__)], check=True)
        array[1:] = values[1:]
    np.testing.assert_array_equal(open_store(path)["numbers"][:], np.ones((3, 100)))
    assert left_over(path.parent) == []


def test_who_lost_a_lock_with_its_folder_does_not_remove_the_next_one(tmp_path):
    path = tmp_path / "results" / "run"
    first = alone(path)
    first.__enter__()
    shutil.rmtree(path.parent)
    with alone(path):
        first.__exit__(None, None, None)
        with pytest.raises(InputError, match="is writing it"), alone(path):
            pass


def test_a_folder_in_which_somebody_writes_is_told_of_by_output(tmp_path):
    (tmp_path / ".stale.json.lock").touch()  # its holder was killed
    check_nobody_writes(tmp_path)
    assert left_over(tmp_path) == []
    with (
        alone(tmp_path / "iq" / "mine.zarr"),
        pytest.raises(InputError, match=f"iq/mine.zarr: process {os.getpid()} is writing it"),
    ):
        check_nobody_writes(tmp_path)
    check_nobody_writes(tmp_path)


def test_a_chunk_cut_short_is_refused(store):
    chunk = store / "numbers" / "c" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"numbers.zarr: array 'numbers' has 3 chunk files .* truncated"):
        open_store(store)


def test_a_lost_chunk_is_refused_though_zarr_reads_it_as_zeros(store):
    (store / "numbers" / "c" / "1" / "0").unlink()
    with pytest.raises(InputError, match=r"has 2 chunk files .* expected 3"):
        open_store(store)


def test_a_chunk_lost_after_opening_is_refused_too(store, values):
    array = open_store(store)["numbers"]
    shutil.rmtree(store / "numbers" / "c" / "1")
    np.testing.assert_array_equal(read_block(array, 0), values[0])
    with pytest.raises(InputError, match=r"numbers.zarr/numbers: block 1 cannot be read .* No such file"):
        read_block(array, 1)


def test_a_block_of_zeros_is_no_lost_chunk(tmp_path):
    write_numbers(tmp_path / "zeros.zarr", np.zeros((2, 5)))
    np.testing.assert_array_equal(open_store(tmp_path / "zeros.zarr")["numbers"][:], np.zeros((2, 5)))


def test_a_block_damaged_in_place_is_refused_when_it_is_read(store):
    chunk = store / "numbers" / "c" / "1" / "0"
    chunk.write_bytes(b"\0" * chunk.stat().st_size)
    with pytest.raises(InputError, match=r"numbers: block 1 cannot be read"):
        read_block(open_store(store)["numbers"], 1)


def test_a_store_without_the_mark_of_completeness_is_refused(store):
    import zarr

    del zarr.open_group(store, mode="r+").attrs["complete"]
    with pytest.raises(InputError, match=r"numbers.zarr: incomplete"):
        open_store(store)


def test_a_store_that_lacks_an_array_is_refused(store):
    with pytest.raises(InputError, match="array 'rank' is missing"):
        open_store(store, "numbers", "rank")


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), ('{"a": ', "not valid JSON")])
def test_a_missing_or_damaged_json_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_json_refuses_numbers_that_json_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "scores.json", {"dice": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_blocks_written_behind_are_all_there_when_it_ends(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 30))
    with new_store(tmp_path / "s.zarr", provenance=provenance("test", {})) as store:
        array = new_array(store, "numbers", shape=(20, 30), dtype="float64", dims=("block", "x"), units="m")
        with writing_behind() as write:
            for block in range(20):
                write(array, block, values[block])
    assert (open_store(tmp_path / "s.zarr", "numbers")["numbers"][:] == values).all()


@pytest.mark.parametrize("failing", [0, 19])
def test_what_goes_wrong_behind_comes_to_the_front_and_leaves_no_store(tmp_path, failing):
    class Disk:
        def __setitem__(self, index, block):
            if index == failing:
                raise OSError(28, "No space left on device")

    def fill():
        with new_store(tmp_path / "s.zarr", provenance=provenance("test", {})), writing_behind() as write:
            for block in range(20):
                write(Disk(), block, None)

    with pytest.raises(
        InputError, match=r"^no space left on the disk for .*s\.zarr; nothing half-written was kept$"
    ):
        fill()
    assert not list(tmp_path.glob("*s*"))
