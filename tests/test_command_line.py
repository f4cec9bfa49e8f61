"""The command line every rule calls: one line for a user's mistake, a traceback for ours."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest

from ulmpipe import __main__ as command_line
from ulmpipe.errors import InputError


@pytest.fixture
def stage(monkeypatch):
    """Put a function in the place of the stage `register`, in this process."""

    def put(run):
        monkeypatch.setattr(command_line, "_limit_threads", lambda threads: None)
        monkeypatch.setattr(command_line, "import_module", lambda name: SimpleNamespace(run=run))
        return lambda *options: command_line.main(["register", "--parameters", "{}", *options])

    return put


def test_a_stage_gets_parameters_paths_and_threads(monkeypatch, stage, tmp_path):
    seen = {}

    def run(parameters, *, blocks: list[str], model: str, threads: int, weights: str | None = None):
        seen.update(parameters=parameters, blocks=blocks, model=model, threads=threads, weights=weights)

    (tmp_path / "p.json").write_text(json.dumps({"seed": 7}))
    options = ["--blocks", "a", "b", "--model", "m", "--threads", "3", "--parameters", f"@{tmp_path}/p.json"]
    assert stage(run)(*options) == 0
    assert seen["parameters"] == {"seed": 7}
    assert [str(block) for block in seen["blocks"]] == ["a", "b"]
    assert (str(seen["model"]), seen["threads"], seen["weights"]) == ("m", 3, None)


def test_a_stage_gets_a_count_as_a_number_and_refuses_what_is_none(stage, capsys):
    seen = []

    def run(parameters, *, memory_mb: int = 4000):
        seen.append(memory_mb)

    assert [stage(run)(*options) for options in ([], ["--memory-mb", "16000"])] == [0, 0]
    assert seen == [4000, 16000]
    with pytest.raises(SystemExit):
        stage(run)("--memory-mb", "much")
    assert "much: expected a whole number of at least 1" in capsys.readouterr().err


def test_a_user_s_mistake_is_one_line_without_traceback(stage, capsys):
    def run(parameters):
        raise InputError("a.swc: radius of node 3 is 0.0, a positive number was expected")

    assert stage(run)() == 2
    assert capsys.readouterr().err == (
        "error in register: a.swc: radius of node 3 is 0.0, a positive number was expected\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["disk", "quota", "safetensors"],
)
def test_a_full_disk_is_one_line(stage, capsys, error):
    def run(parameters):
        raise error

    assert stage(run)() == 2
    said = capsys.readouterr().err
    assert said.startswith("error in register: no space left on the disk; nothing half-written was kept")
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_one_line(stage, capsys, number):
    def run(parameters):
        raise OSError(number, os.strerror(number), "results/iq")

    assert stage(run)() == 2
    said = capsys.readouterr().err
    assert said.startswith("error in register: no right to read or write (")
    assert "'results/iq'" in said
    assert said.count("\n") == 1


def test_an_interruption_is_one_line(stage, capsys):
    def run(parameters):
        raise KeyboardInterrupt

    assert stage(run)() == 2
    assert capsys.readouterr().err == "error in register: interrupted; nothing half-written was kept\n"


def test_a_crash_of_ours_keeps_its_traceback(stage):
    def run(parameters):
        return parameters["missing"]

    with pytest.raises(KeyError):
        stage(run)()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: python -m ulmpipe STAGE"),
        (["registre"], "usage: python -m ulmpipe STAGE"),
        (["_scan"], "usage: python -m ulmpipe STAGE"),
        (["register", "--parameters", "{"], "expected JSON, or @FILE with JSON"),
        (["register", "--parameters", "@nowhere.json"], "expected JSON, or @FILE with JSON"),
        (["register", "--parameters", "{}", "--threads", "0"], "0: expected a whole number of at least 1"),
        (["register", "--parameters", "{}"], "the following arguments are required: --images, --shifts"),
    ],
)
def test_a_wrong_call_says_what_was_expected(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(command_line, "_limit_threads", lambda threads: None)
    try:
        code = command_line.main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_the_named_probes_are_printed(capsys):
    assert command_line.main(["probes"]) == 0
    printed = capsys.readouterr().out
    assert "L22-14v " in printed
    assert "Milecki" in printed


def test_threads_are_limited_before_the_libraries_are_imported():
    program = (
        "import sys; from ulmpipe.__main__ import _limit_threads\n"
        "assert not {'numpy', 'numba', 'torch'} & set(sys.modules)\n"
        "_limit_threads(1)\n"
        "import numba, torch\n"
        "print(numba.get_num_threads(), torch.get_num_threads())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert answer.stdout.split() == ["1", "1"]


def test_the_tools_are_a_command_that_may_be_cut_short():
    (command,) = entry_points(group="console_scripts", name="ulmpipe")
    assert command.load() is command_line.main
    cut = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m ulmpipe probes | head -n 1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (cut.returncode, cut.stderr) == (0, "")
    assert cut.stdout.startswith("probe ")
