"""The fingerprint of a stage's source changes with what the program does, and with nothing else."""

from __future__ import annotations

import pytest

from ulmpipe.fingerprint import source_fingerprint

SOURCES = {
    "__init__.py": "__version__ = '1'\n",
    "stages/__init__.py": "",
    "stages/image.py": (
        '"""Image."""\nfrom ulmpipe.progress import BAR\nfrom ulmpipe.wave import speed\n\n\n'
        'def run():\n    """Run."""\n    return speed()\n'
    ),
    "wave.py": "from ulmpipe import constant\n\n\ndef speed():\n    return constant.C\n",
    "constant.py": "C = 1540.0\n",
    "unrelated.py": "A = 1\n",
    "progress.py": "BAR = '#'\n",
}


@pytest.fixture
def package(tmp_path):
    def make(name: str, **changes: str):
        root = tmp_path / name / "ulmpipe"
        for path, text in (
            SOURCES | {key.replace("__", "/") + ".py": each for key, each in changes.items()}
        ).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return source_fingerprint("ulmpipe.stages.image", root=root)

    return make


def test_the_same_source_elsewhere_has_the_same_fingerprint(package):
    assert package("here") == package("there")


@pytest.mark.parametrize(
    "change",
    [
        {"stages__image": SOURCES["stages/image.py"].replace("speed()\n", "2 * speed()\n")},
        {"wave": SOURCES["wave.py"].replace("constant.C", "constant.C + 1")},
        {"constant": "C = 1480.0\n"},
    ],
    ids=["the stage itself", "what it imports", "what that imports in turn"],
)
def test_a_change_counts(package, change):
    assert package("before") != package("after", **change)


@pytest.mark.parametrize(
    "change",
    [
        {"stages__image": SOURCES["stages/image.py"].replace("Run.", "Run it.")},
        {"stages__image": "# why\n" + SOURCES["stages/image.py"].replace("\n\n\n", "\n\n\n\n\n")},
        {"wave": SOURCES["wave.py"].replace("constant.C", "(\n        constant.C\n    )")},
        {"unrelated": "A = 2\n"},
        {"progress": "BAR = '='\n"},
        {"__init__": "__version__ = '2'\n"},
    ],
    ids=["docstring", "comment", "layout", "a module it does not import", "progress bars", "a release"],
)
def test_a_change_that_changes_no_result_does_not_count(package, change):
    assert package("before") == package("after", **change)


def test_an_import_inside_a_function_counts(package):
    late = SOURCES["stages/image.py"].replace("    return", "    import ulmpipe.unrelated\n    return")
    before = package("before", stages__image=late)
    assert before != package("after", stages__image=late, unrelated="A = 2\n")
