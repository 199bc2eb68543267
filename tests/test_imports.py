"""Who may import whom, read from the source: the rooms of the house stay apart."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from conftest import ROOT

ROOMS = {
    "agedetect": ROOT / "agedetect",
    "agedetect_export": ROOT / "export" / "agedetect_export",
    "agedetect_runtime": ROOT / "runtime" / "agedetect_runtime",
}
MAY_IMPORT = {
    "agedetect": {"agedetect", "agedetect_runtime"},
    "agedetect_export": {"agedetect_export", "agedetect_runtime"},
    "agedetect_runtime": {"agedetect_runtime"},
}
# The one door between training and export: whoever judges a registered model loads it as the exporter does.
DOOR = ROOMS["agedetect"] / "predictor.py"
HEAVY = {"torch", "torchvision", "mlflow", "onnx", "onnxscript", "pandas", "matplotlib", "lightning_fabric", "tqdm"}


def imports(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_it_may(room):
    used = set().union(*(imports(path) for path in ROOMS[room].rglob("*.py") if path != DOOR))
    assert used & ROOMS.keys() <= MAY_IMPORT[room]
    assert room in used  # the look-up sees what there is


def test_the_door_to_the_exporter_is_one_function_of_one_module():
    assert imports(DOOR) & ROOMS.keys() == {"agedetect", "agedetect_export", "agedetect_runtime"}
    through = [
        (node.module, [alias.name for alias in node.names])
        for node in ast.walk(ast.parse(DOOR.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agedetect_export")
    ]
    assert through == [("agedetect_export.registry", ["load_source"])]


def test_the_runtime_imports_nothing_heavy():
    assert not set().union(*(imports(path) for path in ROOMS["agedetect_runtime"].rglob("*.py"))) & HEAVY


@pytest.mark.parametrize(("room", "only"), [("agedetect", "tracking.py"), ("agedetect_export", "registry.py")])
def test_mlflow_is_imported_in_one_module(room, only):
    assert [path.name for path in ROOMS[room].rglob("*.py") if "mlflow" in imports(path)] == [only]


def test_every_module_is_named_by_a_noun_of_its_own():
    nameless = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "handler", "core", "base"}
    assert not {path.stem for folder in ROOMS.values() for path in folder.rglob("*.py")} & nameless
