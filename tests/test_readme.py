"""What the README tells a newcomer to type exists, and what the tree of CONTRIBUTING names."""

from __future__ import annotations

import ast
import re
import shlex
from inspect import signature
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml

import agedetect
import agedetect_runtime
from agedetect.cli import main as agedetect_command
from agedetect.config import AUTO
from agedetect.reports.report import ComparisonReport, EvaluationReport
from agedetect.training.train import TrainedRun
from agedetect_export.cli import main as agedetect_export
from agedetect_runtime.cli import main as agedetect_infer
from agedetect_runtime.report import report_to
from conftest import ROOT
from tiny_models import write_tiny_model

README = (ROOT / "README.md").read_text()
TREE = (ROOT / "CONTRIBUTING.md").read_text().split("## What is where")[1].split("##")[0]
COMMANDS: dict[str, click.Command] = {
    "agedetect": agedetect_command,
    "agedetect-export": agedetect_export,
    "agedetect-infer": agedetect_infer,
}


def typed(*programs: str) -> list[list[str]]:
    """The words of every command of these programs, in code blocks and in `inline code`."""
    blocks = re.findall(r"^ {4,}(\S.*)$", README, re.MULTILINE) + re.findall(r"`([^`\n]+)`", README)
    found = [shlex.split(line, comments=True) for line in blocks if line.split()[0] in programs]
    return [words for words in found if len(words) > 1]


def parse(command: click.Command, words: list[str]) -> click.Context:
    """What click makes of the words: an unknown command or option raises UsageError."""
    if isinstance(command, click.Group):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    return command.make_context(command.name, [word.replace("RUN_ID", "0" * 32) for word in words])


@pytest.mark.parametrize("words", typed(*COMMANDS), ids=" ".join)
def test_a_command_of_ours_is_understood(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("faces", "UTKFace_data"):
        Path(name).mkdir()
    write_tiny_model(Path("model.onnx"))
    if "--help" in words or "--about" in words:
        with pytest.raises(click.exceptions.Exit) as stop:
            parse(COMMANDS[words[0]], words[1:])
        assert stop.value.exit_code == 0
    else:
        parse(COMMANDS[words[0]], words[1:])


def test_the_readme_shows_each_of_our_commands() -> None:
    assert {words[0] for words in typed(*COMMANDS)} == COMMANDS.keys()


@pytest.mark.parametrize("words", typed("mlflow"), ids=" ".join)
def test_an_mlflow_command_names_parameters_that_the_project_has(words: list[str]) -> None:
    points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    if words[1] != "run":
        assert words[1] in ("ui", "models")
        return
    point = points[words[words.index("-e") + 1] if "-e" in words else "main"]
    given = [words[place + 1].split("=")[0] for place, word in enumerate(words) if word == "-P"]
    undeclared = {item.name for item in agedetect_command.commands["train"].params if item.default == AUTO}
    assert set(given) <= point["parameters"].keys() | (set() if "-e" in words else undeclared)


@pytest.mark.parametrize("words", typed("make"), ids=" ".join)
def test_a_make_target_exists(words: list[str]) -> None:
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


# In the README's order: the module of its names, and the classes whose attributes and methods it uses.
EXAMPLES: list[tuple[ModuleType, tuple[type, ...]]] = [
    (agedetect_runtime, (agedetect_runtime.AgeEstimator, agedetect_runtime.Estimate, agedetect_runtime.Failure)),
    (agedetect, (TrainedRun, EvaluationReport, ComparisonReport)),
]


def test_the_python_examples_use_what_there_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for code, (module, classes) in zip(blocks, EXAMPLES, strict=True):
        tree = ast.parse(code)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = {alias.name for node in imports if node.module == module.__name__ for alias in node.names}
        assert names
        assert names <= set(module.__all__)
        known = set[str]().union(*map(dir, classes))
        assert {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} <= known


def test_every_call_of_the_front_door_takes_its_arguments() -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    calls = [
        (node.func.id, node)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    ours = [(name, call) for name, call in calls if name in agedetect.__all__]
    assert {name for name, _ in ours} == set(agedetect.__all__) - {"load_model"}
    for name, call in ours:
        keywords = {str(keyword.arg): None for keyword in call.keywords}
        signature(getattr(agedetect, name)).bind(*call.args, **keywords)  # TypeError where it doesn't


def test_the_readme_can_be_scanned() -> None:
    """What, what to type, what comes out, how good: in this order, before anything else, and no longer than it was."""
    titles = re.findall(r"^## (.+)$", README, re.MULTILINE)
    assert titles[:4] == ["Quick start", "What you get", "How good it is", "Train your own"]
    assert len(README.splitlines()) <= 166


def test_the_columns_are_those_that_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with report_to(None):
        pass  # no image: only the heading
    heading = capsys.readouterr().out.strip()
    assert f"a CSV file with the columns `{heading}`" in README


def test_every_link_and_picture_leads_to_a_file() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if not target.startswith("http")]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def tree_lines() -> list[tuple[Path, list[str]]]:
    """The folder of each line of the tree, and the names on it; a top folder's line is its own name."""
    folder, found = ROOT, []
    for line in TREE.splitlines():
        names = re.findall(r"[\w*/.]+(?:\.py|/)(?=[\s,]|$)", line)
        if line.startswith("        "):
            found.append((folder, names))
        elif line.startswith("    ") and names:
            folder = ROOT / names[0]
            found.append((ROOT, names))
    return found


def test_the_tree_names_files_that_exist() -> None:
    lines = tree_lines()
    assert len(lines) > 15  # the look-up sees what there is
    assert [name for folder, names in lines for name in names if not (folder / name).exists()] == []


def test_a_line_of_the_tree_names_at_most_three_files() -> None:
    assert [names for _, names in tree_lines() if not 1 <= len(names) <= 3] == []


def test_the_tree_has_a_line_for_every_room() -> None:
    rooms = {path.parent.name for path in (ROOT / "agedetect").glob("*/__init__.py")}
    assert {names[0].rstrip("/") for folder, names in tree_lines() if folder == ROOT / "agedetect"} >= rooms
