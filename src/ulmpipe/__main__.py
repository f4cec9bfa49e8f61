"""The thin command line that every rule calls: ``python -m ulmpipe STAGE --parameters JSON --NAME PATH …``.

A stage is a module of `ulmpipe.stages` with one function ``run(parameters, *, …paths)``; its options are that
function's keyword arguments. Only the stage that is called is imported. ``ulmpipe probes`` prints the
probes that are known by name, ``ulmpipe inspect FILE`` what is in a recording.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any


def _stage_names() -> list[str]:
    from ulmpipe import stages

    modules = (module.name for module in pkgutil.iter_modules(stages.__path__))
    return sorted(name for name in modules if not name.startswith("_"))


def _available_cores() -> int:
    """Cores this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limit_threads(threads: int) -> None:
    """Give numba and torch `threads`, and BLAS one: its sums would otherwise depend on the number of cores."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[name] = "1"
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)


def _parameters(text: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, json.JSONDecodeError) as error:
        raise argparse.ArgumentTypeError(f"expected JSON, or @FILE with JSON ({error})") from None
    return content


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least 1")
    return int(text)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_count, default=_available_cores(), help="default: all cores")


def _parser(stage: str, run: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m ulmpipe {stage}", description=inspect.getdoc(run))
    parser.add_argument("--parameters", type=_parameters, required=True, help="JSON, or @FILE")
    _add_threads(parser)
    for name, argument in inspect.signature(run).parameters.items():
        if argument.kind is not inspect.Parameter.KEYWORD_ONLY or name == "threads":
            continue
        several = "list" in str(argument.annotation)
        count = argument.annotation == "int"
        required = argument.default is inspect.Parameter.empty
        parser.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            type=_count if count else Path,
            nargs="+" if several else None,
            required=required,
            default=None if required else argument.default,
        )
    return parser


def _print_probes(arguments: Sequence[str]) -> None:
    argparse.ArgumentParser(prog="ulmpipe probes").parse_args(arguments)
    from ulmpipe.acoustics.probe_table import probe_table

    print(probe_table())


def _inspect(arguments: Sequence[str]) -> None:
    from ulmpipe.inspection import main as inspect

    inspect(arguments)


TOOLS = {"probes": _print_probes, "inspect": _inspect}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stage or a tool; a user's mistake ends with one line and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    names = _stage_names()
    if not arguments or arguments[0] not in (*names, *TOOLS):
        print(
            f"usage: python -m ulmpipe STAGE --help   (STAGE: {', '.join(names)})\n"
            "       ulmpipe probes         (the probes that are known by name)\n"
            "       ulmpipe inspect FILE   (what is in a recording)",
            file=sys.stderr,
        )
        return 2
    if arguments[0] in TOOLS:
        return _one_line_of(arguments[0], lambda: TOOLS[arguments[0]](arguments[1:]))
    stage = arguments[0]
    # before numpy is imported: it reads the number of threads only once
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_threads(early)
    _limit_threads(early.parse_known_args(arguments[1:])[0].threads)
    run = import_module(f"ulmpipe.stages.{stage}").run
    given = vars(_parser(stage, run).parse_args(arguments[1:]))
    if "threads" not in inspect.signature(run).parameters:
        del given["threads"]
    parameters = given.pop("parameters")
    paths = {name: value for name, value in given.items() if value is not None}
    return _one_line_of(stage, lambda: run(parameters, **paths))


def _one_line_of(name: str, work: Callable[[], None]) -> int:
    """Do the work; what a user can help ends as one line, the last one of the output."""
    from ulmpipe.errors import InputError, is_disk_full, is_refused

    try:
        work()
    except InputError as error:
        message = str(error)
    except KeyboardInterrupt:
        message = "interrupted; nothing half-written was kept"
    except BrokenPipeError:  # whoever reads, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if is_disk_full(error):
            message = f"no space left on the disk; nothing half-written was kept ({error})"
        elif is_refused(error):
            message = f"no right to read or write ({error})"
        else:
            raise
    else:
        return 0
    # only here: open progress bars have ended with the exception
    print(f"error in {name}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
