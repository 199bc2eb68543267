"""MLproject and conda.yaml are held to the code: MLflow itself checks neither names nor types."""

from __future__ import annotations

import dataclasses
import re
import shlex
import tomllib
from collections.abc import Callable
from itertools import chain
from typing import Any

import click
import yaml
from mlflow.projects._project_spec import load_project

from agedetect.cli import main
from agedetect.config import AUTO, TrainConfig
from agedetect_export.cli import main as export
from conftest import ROOT

# What is logged as it was given; the others are in a comment.
RESOLVED = [item.name for item in dataclasses.fields(TrainConfig) if item.default == AUTO]
DECLARED = [item for item in dataclasses.fields(TrainConfig) if item.name not in RESOLVED]
SETTINGS = main.context_settings
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
MLFLOW_TYPE = {str: "string", int: "int", float: "float", bool: "string"}


def test_the_parameters_are_the_configs_with_its_types_and_defaults() -> None:
    written = PROJECT["entry_points"]["main"]["parameters"]
    expected = {}
    for item in DECLARED:
        default = str(item.default).lower() if isinstance(item.default, bool) else item.default
        expected[item.name] = {"type": MLFLOW_TYPE[type(item.default)], "default": default}
    assert written == expected


def test_the_command_passes_every_parameter_to_the_option_of_its_name() -> None:
    words = shlex.split(PROJECT["entry_points"]["main"]["command"])
    assert words[:6] == ["env", "PYTHONPATH=.:export:runtime", "python", "-m", "agedetect", "train"]
    passed = dict(zip(words[6::2], words[7::2], strict=True))
    assert passed == {f"--{item.name.replace('_', '-')}": f"{{{item.name}}}" for item in DECLARED}


def test_what_is_resolved_is_left_to_the_run_which_logs_the_value_and_can_be_given_all_the_same() -> None:
    """MLflow passes what a project doesn't declare as --NAME VALUE, with the name as it was typed."""
    comment = (ROOT / "MLproject").read_text().split("parameters:")[0]
    assert [name for name in RESOLVED if not re.search(rf"\b{name}\b", comment)] == []
    load: Callable[..., Any] = load_project  # which has no annotations
    entry = load(str(ROOT)).get_entry_point("main")
    given = {"head_epochs": "2", "finetune_learning_rate": "3e-4", "start": "faces", "workers": "auto"}
    words = shlex.split(entry.compute_command(given, None))
    with main.commands["train"].make_context("train", words[6:], parent=click.Context(main, **SETTINGS)) as context:
        assert {name: context.params[name] for name in given} == {
            "head_epochs": 2,
            "finetune_learning_rate": 3e-4,
            "start": "faces",
            "workers": AUTO,
        }


def test_the_projects_defaults_make_the_default_config() -> None:
    defaults = {name: item["default"] for name, item in PROJECT["entry_points"]["main"]["parameters"].items()}
    arguments = [part for name, value in defaults.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = main.commands["train"]
    with command.make_context("train", arguments) as context:
        values = {name: value for name, value in context.params.items() if name not in ("resume", "no_register")}
    assert TrainConfig(**values) == TrainConfig()


def test_the_export_entry_point_calls_the_exporter_with_arguments_that_it_takes() -> None:
    point = PROJECT["entry_points"]["export"]
    words = shlex.split(point["command"])
    assert words[:5] == ["env", "PYTHONPATH=.:export:runtime", "python", "-m", "agedetect_export"]
    values = {name: item["default"] for name, item in point["parameters"].items()}
    assert isinstance(export, click.Command)
    with export.make_context("agedetect-export", [word.format(**values) for word in words[5:]]) as context:
        taken = context.params
    assert taken["source"] == "models:/agedetect@candidate"
    assert taken["faces"] is None  # empty: the validation images of the model's run
    defaults = {option.name: option.default for option in export.params}
    for name in ("images", "tolerance_years", "image_size", "precision", "mae_budget_years"):
        assert taken[name] == defaults[name]
    for_clients = {"resize_in_graph", "golden"}  # which a developer exports by hand
    assert set(values) == set(taken) - {"source", "force", *for_clients} | {"model"}  # every other option can be given
    assert taken["force"]


def test_conda_installs_what_the_training_extra_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["train"]
    pip = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"][-1]["pip"]
    assert pip[0] == "-c constraints.txt"
    assert sorted(pip[1:]) == sorted(re.split(r"[<>=\[]", name)[0] for name in wanted)


def test_every_dependency_has_one_tested_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {re.split(r"[<>=\[]", name)[0].lower() for name in named} - {"agedetect", "onnxruntime-gpu"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert names <= pinned, names - pinned
