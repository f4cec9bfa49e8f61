"""The thin command line that every rule calls: ``python -m ulmpipe STAGE --parameters JSON --NAME PATH …``.

A stage is a module of `ulmpipe.stages` with one function ``run(parameters, *, …paths)``; its options are that function's
keyword arguments. Only the stage that is called is imported.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any


def _stage_names() -> list[str]:
    from ulmpipe import stages

    return sorted(module.name for module in pkgutil.iter_modules(stages.__path__))


def _limit_threads(threads: int) -> None:
    """Give numba and torch `threads`, and BLAS one: its sums would otherwise depend on the number of cores."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["NUMBA_NUM_THREADS"] = str(threads)


def _parameters(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        text = Path(text[1:]).read_text()
    content: dict[str, Any] = json.loads(text)
    return content


def _parser(stage: str, run: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m ulmpipe {stage}", description=inspect.getdoc(run))
    parser.add_argument("--parameters", type=_parameters, required=True, help="JSON, or @FILE")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    for name, argument in inspect.signature(run).parameters.items():
        if argument.kind is not inspect.Parameter.KEYWORD_ONLY or name == "threads":
            continue
        several = "list" in str(argument.annotation)
        required = argument.default is inspect.Parameter.empty
        parser.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            type=Path,
            nargs="+" if several else None,
            required=required,
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; a user's mistake ends with one line and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    names = _stage_names()
    if not arguments or arguments[0] not in names:
        print(f"usage: python -m ulmpipe STAGE --help   (STAGE: {', '.join(names)})", file=sys.stderr)
        return 2
    stage = arguments[0]
    # before numpy is imported: the number of threads is read only once
    threads = next(
        (int(b) for a, b in zip(arguments, arguments[1:], strict=False) if a == "--threads"),
        os.cpu_count() or 1,
    )
    _limit_threads(threads)
    from ulmpipe.errors import InputError

    run = import_module(f"ulmpipe.stages.{stage}").run
    given = vars(_parser(stage, run).parse_args(arguments[1:]))
    if "threads" not in inspect.signature(run).parameters:
        del given["threads"]
    try:
        run(given.pop("parameters"), **{name: value for name, value in given.items() if value is not None})
    except InputError as error:
        print(f"error in {stage}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (28, 122):  # disk full, quota
            raise
        print(
            f"error in {stage}: no space left on the disk ({error}); nothing half-written was kept",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
