"""Fingerprint of a stage's source: what makes Snakemake rerun a stage when its code, or code it imports, changes."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = "ulmpipe"
ROOT = Path(__file__).parent
# seen by people only; the package's own __init__ holds the version, and a release is no reason to compute again
WITHOUT_INFLUENCE = {"__init__.py", "errors.py", "progress.py"}


def _module_file(root: Path, name: str) -> Path | None:
    base = root.joinpath(*name.split(".")[1:])
    for candidate in (
        base.with_suffix(".py") if name != PACKAGE else base / "__init__.py",
        base / "__init__.py",
    ):
        if candidate.is_file():
            return candidate
    return None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            or not body
        ):
            continue
        first = body[0]
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            node.body = body[1:] or [ast.Pass()]
    return tree


def _imported_names(tree: ast.Module) -> set[str]:
    """Every name of this package that is imported anywhere in the module, functions included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name == PACKAGE or name.startswith(PACKAGE + ".")}


def source_fingerprint(module: str, *, root: Path | None = None, ignoring: tuple[str, ...] = ()) -> str:
    """Hash a module and, transitively, what it imports of this package.

    Comments, docstrings and layout do not count: only what the program does.

    Parameters
    ----------
    module : str
        Dotted name, for example ``"ulmpipe.stages.trajectories"``.
    root : Path, optional
        Folder of the package; its own by default.
    ignoring : tuple of str
        Folders of the package that do not count.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return _fingerprint(module, root or ROOT, ignoring)


@cache
def _parsed(path: Path) -> tuple[str, frozenset[str]]:
    tree = ast.parse(path.read_text())
    return ast.dump(_without_docstrings(tree)), frozenset(_imported_names(tree))


@cache
def _fingerprint(module: str, root: Path, ignoring: tuple[str, ...]) -> str:
    found: dict[Path, str] = {}
    waiting = [module]
    while waiting:
        path = _module_file(root, waiting.pop())
        if path is None or path in found or (path.parent == root and path.name in WITHOUT_INFLUENCE):
            continue
        if path.relative_to(root).parts[0] in ignoring:
            continue
        found[path], imported = _parsed(path)
        waiting += sorted(imported)
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + found[path].encode() + b"\0")
    return digest.hexdigest()[:16]
