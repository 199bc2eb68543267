"""From a clean copy of the repository, without conda: what `make demo` does, through the commands that people type."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlflow.tracking import MlflowClient

from agedetect_runtime import AgeEstimator
from conftest import ROOT, command_environment, program

# The time is against hangs: the demo takes two minutes where nothing else runs.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EXPORT = "run . -e export --env-manager local -P model=models:/agedetect-demo@candidate -P output=exported.onnx"
Demo = list[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, or would."""
    folder = tmp_path_factory.mktemp("clean") / "agedetect"
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def demo_commands() -> list[list[str]]:
    """The commands of the Makefile's demo target, its variables put in."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    parameters = re.search(r"^DEMO_PARAMETERS = (.*)$", text, re.MULTILINE)
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert parameters is not None
    assert recipe is not None
    lines = [line.strip().replace("$(DEMO_PARAMETERS)", parameters[1]) for line in recipe[1].splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("agedetect", "mlflow"))]


@pytest.fixture(scope="module")
def demo(checkout: Path) -> Demo:
    """Every command of the demo, run in the copy, stopping at the first that fails."""
    environment = command_environment(checkout, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    done = []
    for command in demo_commands():
        ended = subprocess.run(
            [program(command[0]), *command[1:]],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert ended.returncode == 0, f"{shlex.join(command)}\n{ended.stdout}\n{ended.stderr}"
        done.append(ended)
    return done


def test_the_demo_trains_registers_exports_and_infers(demo: Demo, checkout: Path) -> None:
    assert [Path(str(ended.args[0])).name for ended in demo] == [
        "agedetect",
        "mlflow",
        "agedetect-export",
        "agedetect",
        "agedetect-infer",
    ]
    ages = list(csv.DictReader(demo[-1].stdout.splitlines()))
    assert len(ages) == 12
    assert all(0 <= float(row["age"]) <= 116 and not row["error"] for row in ages)


def test_a_backbone_from_scratch_learns_the_drawn_faces_clearly(demo: Demo, checkout: Path) -> None:
    spec = AgeEstimator(checkout / "demo" / "model.onnx", device="cpu").spec
    assert spec.provenance["test"]["r2"] > 0.7


def test_faces_the_model_never_saw_get_their_ages(demo: Demo, checkout: Path) -> None:
    rows = list(csv.DictReader(demo[-1].stdout.splitlines()))
    true = np.array([float(Path(row["file"]).name.split("_")[0]) for row in rows])
    error = np.abs(np.array([float(row["age"]) for row in rows]) - true)
    assert error.mean() < 0.7 * np.abs(true - np.median(true)).mean()  # well below answering one age for all


def test_the_exported_file_is_one_valid_file_that_says_where_it_comes_from(demo: Demo, checkout: Path) -> None:
    path = checkout / "demo" / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    spec = AgeEstimator(path, device="cpu").spec
    assert spec.provenance["source"]["registered_model"] == "agedetect-demo"
    report = json.loads((checkout / "demo" / "model.parity.json").read_text())
    assert report["worst_years"] <= 1e-3
    assert spec.provenance["data_licence"] == "drawn by agedetect: no restriction"


def test_the_demo_makes_one_run_that_is_the_projects_own(demo: Demo, checkout: Path) -> None:
    client = MlflowClient(f"sqlite:///{checkout / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("agedetect-demo")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["mlflow.project.entryPoint"] == "main"
    assert run.data.params["model_name"] == "mobilenet_v2"
    assert run.data.metrics["test/r2"] > 0.7


def test_the_export_entry_point_exports_the_candidate(demo: Demo, checkout: Path) -> None:
    environment = command_environment(checkout, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    ended = subprocess.run(
        [program("mlflow"), *shlex.split(EXPORT)],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    # But for the measured parity, some 1e-5 years, which varies with the number of threads: the demo takes its own.
    again, before = (onnx.load(checkout / name) for name in ("exported.onnx", "demo/model.onnx"))
    assert again.graph.SerializeToString(deterministic=True) == before.graph.SerializeToString(deterministic=True)
