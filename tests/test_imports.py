"""Who may import whom, read from the source: packages and rooms import one way, and no circle closes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGES = {
    "agedetect": ROOT / "agedetect",
    "agedetect_export": ROOT / "export" / "agedetect_export",
    "agedetect_runtime": ROOT / "runtime" / "agedetect_runtime",
}
MAY_IMPORT = {
    "agedetect": {"agedetect", "agedetect_runtime"},
    "agedetect_export": {"agedetect_export", "agedetect", "agedetect_runtime"},
    "agedetect_runtime": {"agedetect_runtime"},
}
# What each room of `agedetect` may import of the others; all may import the top's `config` and `errors`.
ROOMS = {
    "data": set(),
    "synthetic": set(),
    "models": set(),
    "evaluation": {"data", "models"},
    "reports": {"evaluation", "data"},
    "tracking": {"data", "synthetic", "models", "evaluation", "reports"},
    "training": {"data", "synthetic", "models", "evaluation", "reports", "tracking"},
}
TOP = {"__init__", "__main__", "cli", "config", "errors"}
HEAVY = {
    "torch",
    "torchvision",
    "mlflow",
    "onnx",
    "onnxscript",
    "pandas",
    "matplotlib",
    "lightning_fabric",
    "optuna",
    "tqdm",
}


def imports(path: Path) -> set[str]:
    """Full names of everything that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def rooms(path: Path) -> set[str]:
    """The parts of `agedetect` that a file imports: rooms and modules of the top."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("agedetect.")}


def modules() -> Iterator[tuple[str, Path]]:
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package: str) -> None:
    front_door = PACKAGES["agedetect"] / "__init__.py"  # it alone reaches up, for `export`, when that is called
    used = set[str]().union(*(packages(path) for path in PACKAGES[package].rglob("*.py") if path != front_door))
    assert used & PACKAGES.keys() <= MAY_IMPORT[package]
    assert package in used  # the look-up sees what there is


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str) -> None:
    used = set[str]().union(*(rooms(path) for path in (PACKAGES["agedetect"] / room).rglob("*.py")))
    assert used - {room} <= ROOMS[room] | {"config", "errors", "__version__"}


def test_every_file_is_in_a_room_or_one_of_the_top() -> None:
    top = {path.stem for path in PACKAGES["agedetect"].glob("*.py")}
    folders = {path.parent.name for path in PACKAGES["agedetect"].glob("*/__init__.py")}
    assert top == TOP
    assert folders == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is(room: str) -> None:
    text = (PACKAGES["agedetect"] / room / "__init__.py").read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1  # nothing but the docstring: importing a room imports nothing else
    assert len(text.strip().splitlines()) <= 4


def test_no_circle_of_imports() -> None:
    """Over everything but what only type checkers import; TopologicalSorter raises CycleError."""
    known = dict(modules())
    graph = {name: {found for found in _imported(path, known) if found != name} for name, path in known.items()}
    assert graph["agedetect.evaluation.evaluate"]  # the look-up sees what there is
    TopologicalSorter(graph).prepare()


def _imported(path: Path, known: dict[str, Path]) -> set[str]:
    tree = ast.parse(path.read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    lazy = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in guarded or id(node) in lazy:
            continue
        names = {f"{node.module}.{alias.name}" for alias in node.names}
        found |= {name if name in known else str(node.module) for name in names}
    return found & known.keys()


def test_the_runtime_imports_nothing_heavy() -> None:
    for path in PACKAGES["agedetect_runtime"].rglob("*.py"):
        allowed = {"pandas"} if path.name == "pyfunc.py" else set()  # MLflow calls it with a table
        assert packages(path) & HEAVY <= allowed, path


def test_mlflow_is_imported_in_one_room() -> None:
    using = {path.parent.name for name, path in modules() if "mlflow" in packages(path)}
    assert using == {"tracking"}


def test_every_module_is_named_by_a_noun_of_its_own() -> None:
    nameless = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "handler", "core", "base"}
    assert not {path.stem for _, path in modules()} & nameless


def test_the_front_door_is_what_it_says_and_costs_nothing_to_import() -> None:
    code = (
        "import sys, agedetect\n"
        "heavy = {'torch', 'mlflow', 'numpy', 'pandas', 'PIL', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "assert set(agedetect.__all__) <= set(dir(agedetect))\n"
        "assert all(getattr(agedetect, name) for name in agedetect.__all__)\n"
        "from agedetect import TrainConfig, compare, evaluate, export, load_model, read_faces, train\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
