"""Nights of examples/nightly.py on drawn faces: one that is killed and goes on, and one that is no better.

Marked `external` for its length, though it needs nothing from outside Python.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.entities import Run

from conftest import ROOT, SMALL_RUN, command_environment
from examples.nightly import main, night_run
from export_source import small_model
from export_store import tracking

pytestmark = [pytest.mark.external, pytest.mark.slow]

SCRIPT = ROOT / "examples" / "nightly.py"
NAME = "agedetect-nightly"
# The head alone, on features that are computed once.
SMALL = {
    **json.loads((ROOT / "examples" / "nightly.json").read_text()),
    **SMALL_RUN,
    "epochs": 3,
    "head_epochs": 3,
    "learning_rate": 1e-2,
    "warmup_epochs": 0,
}


def test_a_retry_of_a_project_finds_the_run_of_the_first_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mlflow run` makes a run for each try, in the experiment that it was given."""
    with tracking(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        client = MlflowClient()
        experiment = client.create_experiment("nights of the team")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        first, second = (client.create_run(experiment).info.run_id for _ in range(2))
        for given in (first, second):
            monkeypatch.setenv("MLFLOW_RUN_ID", given)
            assert night_run("monday") == first


def arguments(folder: Path, faces: Path, night: str, **changes: object) -> list[str]:
    weights = folder / "backbone.pth"  # an untrained network's features hardly differ from face to face
    torch.save(small_model(backbone="mobilenet_v2").model.backbone.state_dict(), weights)
    config = folder / f"{night}.json"
    config.write_text(json.dumps({**SMALL, "weights": str(weights), **changes}))
    place = str(folder / "nights")
    return [str(faces), str(faces), "--config", str(config), "--folder", place, "--night", night, "--first"]


def go_on(folder: Path, words: list[str]) -> Result:
    """In this process, with the store of `folder`."""
    with tracking(f"sqlite:///{folder / 'mlflow.db'}"):
        return CliRunner(env=command_environment(folder)).invoke(main, words)


def runs(folder: Path) -> dict[str, Run]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("agedetect-nightly")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get("night", run.data.tags.get("mlflow.parentRunId", "")): run for run in found}


def test_a_night_goes_on_where_it_was_killed_and_a_worse_model_does_not_serve(
    drawn_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = arguments(tmp_path, drawn_faces, "monday")
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *words],
        cwd=tmp_path,
        env=command_environment(tmp_path, PYTHONPATH=":".join(sys.path)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2"):
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    done = go_on(tmp_path, words)
    assert done.exit_code == 0, done.output
    assert "night monday: promoted: the first champion: there was none to compare it with\n" in done.stdout
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    monday = runs(tmp_path)["monday"]
    training = monday.data.tags["training"]
    steps = [item.step for item in client.get_metric_history(training, "validation/mae")]
    assert sorted(set(steps)) == [1, 2, 3]
    assert client.get_run(training).info.status == monday.info.status == "FINISHED"
    names = {item.path for item in client.list_artifacts(monday.info.run_id)}
    assert names == {"audit", "evaluation", "ages.csv"}
    assert versions(client) == {NAME: ("1", "1"), f"{NAME}-onnx": ("1", "1")}
    assert len((tmp_path / "nights" / "monday" / "ages.csv").read_text().splitlines()) == 161

    assert go_on(tmp_path, words).exit_code == 0
    assert versions(client) == {NAME: ("1", "1"), f"{NAME}-onnx": ("1", "1")}

    worse = arguments(tmp_path, drawn_faces, "tuesday", epochs=1, head_epochs=1, learning_rate=1e-6)
    done = go_on(tmp_path, worse)
    assert done.exit_code == 0, done.output
    assert "night tuesday: not promoted: " in done.stdout
    assert versions(client) == {NAME: ("2", "1"), f"{NAME}-onnx": ("1", "1")}
    assert len((tmp_path / "nights" / "tuesday" / "ages.csv").read_text().splitlines()) == 161


def versions(client: MlflowClient) -> dict[str, tuple[str, str]]:
    """Name -> its newest version, and the champion."""
    return {
        model.name: (str(max(int(version.version) for version in found)), str(model.aliases["champion"]))
        for model in client.search_registered_models()
        if (found := client.search_model_versions(f"name = '{model.name}'"))
    }
