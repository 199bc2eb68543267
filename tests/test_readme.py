"""What the README tells a newcomer to type exists: each command, option, parameter and file."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

import agedetect_runtime
from agedetect.cli import main as agedetect
from agedetect_export.cli import main as agedetect_export
from agedetect_runtime.cli import main as agedetect_infer
from conftest import ROOT
from tiny_models import write_tiny_model

README = (ROOT / "README.md").read_text()
COMMANDS: dict[str, click.Command] = {
    "agedetect": agedetect,
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
        _, command, words = command.resolve_command(click.Context(command), words)
    assert command is not None
    return command.make_context(command.name, [word.replace("RUN_ID", "0" * 32) for word in words])


@pytest.mark.parametrize("words", typed(*COMMANDS), ids=" ".join)
def test_a_command_of_ours_is_understood(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "UTKFace_data", "demo"):
        Path(name).mkdir()
    write_tiny_model(Path("model.onnx"))
    if "--help" in words or "--about" in words:
        with pytest.raises(click.exceptions.Exit) as stop:
            parse(COMMANDS[words[0]], words[1:])
        assert stop.value.exit_code == 0
    else:
        parse(COMMANDS[words[0]], words[1:])


def test_the_readme_shows_each_of_our_commands():
    assert {words[0] for words in typed(*COMMANDS)} == COMMANDS.keys()


@pytest.mark.parametrize("words", typed("mlflow"), ids=" ".join)
def test_an_mlflow_command_names_parameters_that_the_project_has(words):
    points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    if words[1] != "run":
        assert words[1] == "ui"
        return
    point = points[words[words.index("-e") + 1] if "-e" in words else "main"]
    given = [words[place + 1].split("=")[0] for place, word in enumerate(words) if word == "-P"]
    assert set(given) <= point["parameters"].keys()


@pytest.mark.parametrize("words", typed("make"), ids=" ".join)
def test_a_make_target_exists(words):
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_python_example_uses_what_there_is():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    tree = ast.parse(code)
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert names == ["AgeEstimator"]
    known = set(dir(agedetect_runtime.AgeEstimator)) | set(agedetect_runtime.Estimate.__dataclass_fields__)
    assert {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} <= known


def test_every_link_and_picture_leads_to_a_file():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if not target.startswith("http")]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_tree_names_files_that_exist():
    tree = README.split("## What is where")[1].split("##")[0]
    folder = ROOT
    for line in tree.splitlines():
        words = re.findall(r"[\w*/.]+(?:\.py|/)(?=[\s,]|$)", line)
        if line.startswith("    ") and not line.startswith("     ") and words and words[0].endswith("/"):
            folder = ROOT / words[0]
            assert folder.is_dir(), line
        elif line.startswith("        "):
            for word in words:
                assert list(folder.glob(word.rstrip("/"))), f"{word} in: {line}"
