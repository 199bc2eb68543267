"""The shared server of deploy/, for real: PostgreSQL, an object store, MLflow with passwords, and two users."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from conftest import SMALL_RUN, options, program
from export_store import tracking
from first_opening import open_at_once
from shared_server import DEPLOY, PASSWORDS, SharedServer, administer, run, shared_server

pytestmark = pytest.mark.external

MODEL = "models:/agedetect@candidate"
EXPORT: list[str | Path] = [program("agedetect-export"), MODEL, "--output", "age.onnx"]
# Of one training: two epochs, 25 files of report and model, the registration; 65, and one in ten seconds more.
MOST_REQUESTS = 75


def train(faces: Path) -> list[str | Path]:
    # timm's smallest network whose ages differ without training, as the exporter's accuracy check demands
    shorter = SMALL_RUN | {"model_name": "timm/test_resnet", "epochs": 2, "head_epochs": 1}
    del shorter["finetune_learning_rate"], shorter["warmup_epochs"]  # with small steps the ages are all one
    return [program("agedetect"), "train", "--data-dir", faces, "--data-licence", "drawn", *options(shorter)]


@pytest.fixture(scope="module")
def server() -> Iterator[SharedServer]:
    with shared_server() as started:
        administer(started, "add", "anna", "ben", NEW_PASSWORD=PASSWORDS["anna"])
        yield started


@pytest.fixture(scope="module")
def requests_of_training(server: SharedServer, drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Of anna's first training on the server, which makes the experiment and the registered model."""
    before = len(server.requests())
    folder = tmp_path_factory.mktemp("anna")
    done = run(train(drawn_faces), folder, server.client("anna"))
    assert done.returncode == 0, done.stderr
    return len(server.requests()) - before


def digests(server: SharedServer, user: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the registered model's files, downloaded by the user."""
    for name, value in server.client(user).items():
        monkeypatch.setenv(name, value)
    with tracking(server.url):
        path = Path(mlflow.artifacts.download_artifacts(artifact_uri=MODEL, dst_path=str(folder)))
    files = [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.usefixtures("requests_of_training")
def test_a_model_that_was_trained_through_the_server_is_exported(server: SharedServer, tmp_path: Path) -> None:
    done = run(EXPORT, tmp_path, server.client("anna"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "age.onnx").stat().st_size > 1_000_000
    assert list(server.folder.glob("objects/mlflow/**/weights.safetensors*")), "the artifacts are not in the bucket"


def test_a_training_costs_few_requests(requests_of_training: int) -> None:
    assert 25 < requests_of_training <= MOST_REQUESTS


@pytest.mark.usefixtures("requests_of_training")
def test_who_may_not_use_the_server_is_told_so(server: SharedServer, drawn_faces: Path, tmp_path: Path) -> None:
    before = len(server.requests())
    for command, password, status in (
        (EXPORT, PASSWORDS["ben"], "403"),
        (train(drawn_faces), PASSWORDS["ben"], "403"),
        (train(drawn_faces), "wrong", "401"),
    ):
        done = run(command, tmp_path, server.client("ben", password))
        assert done.returncode == 1
        assert status in done.stderr.splitlines()[-1]
    written = [request for request in server.requests()[before:] if request.startswith(("POST", "PUT"))]
    assert not [request for request in written if request.endswith(" 200")]


@pytest.mark.usefixtures("requests_of_training")
def test_a_right_to_read_is_enough_to_download(
    server: SharedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    administer(server, "grant", "ben", "READ", "--experiment", "agedetect", "--model", "agedetect")
    assert digests(server, "ben", tmp_path, monkeypatch) == digests(server, "anna", tmp_path, monkeypatch)


@pytest.mark.usefixtures("requests_of_training")
def test_a_backup_brings_all_back(server: SharedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def operate(*command: str | Path) -> None:
        subprocess.run(command, env=os.environ | server.operator(), check=True, timeout=120, cwd=tmp_path)

    before = digests(server, "anna", tmp_path / "before", monkeypatch)
    operate("pg_dump", "--format=custom", "--file=mlflow.dump", "mlflow")
    operate(sys.executable, DEPLOY / "objects.py", "save", "artifacts")

    operate("psql", "--quiet", "mlflow", "--command", "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    shutil.rmtree(server.folder / "objects" / "mlflow")
    with pytest.raises(mlflow.MlflowException):
        digests(server, "anna", tmp_path / "wiped", monkeypatch)

    operate("pg_restore", "--clean", "--if-exists", "--single-transaction", "--dbname=mlflow", "mlflow.dump")
    operate(sys.executable, DEPLOY / "objects.py", "restore", "artifacts")
    assert digests(server, "anna", tmp_path / "after", monkeypatch) == before
    assert any(name.endswith("weights.safetensors") for name in before)


@pytest.mark.usefixtures("requests_of_training")
def test_a_training_that_may_not_register_says_where_its_model_is(
    server: SharedServer, drawn_faces: Path, tmp_path: Path
) -> None:
    """In an experiment of ben's, under a name that is anna's."""
    administer(server, "grant", "ben", "READ", "--model", "agedetect")
    ben = server.client("ben") | {"MLFLOW_EXPERIMENT_NAME": "ben's"}
    done = run(train(drawn_faces), tmp_path, ben)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(
        r"lacks a part: .*403.*; the model is safe as models:/m-[0-9a-f]+, and is not registered as agedetect; send "
        r"the rest with: agedetect sync [0-9a-f]+$",
        done.stderr.splitlines()[-1],
    ), done.stderr
    administer(server, "grant", "ben", "EDIT", "--model", "agedetect")
    sent = run([program("agedetect"), "sync"], tmp_path, ben)
    assert sent.returncode == 0, sent.stderr
    assert "sent; model models:/agedetect@candidate" in sent.stdout
    assert list((tmp_path / "runs").iterdir()) == []


def test_eight_first_trainings_at_once_on_an_empty_database(server: SharedServer, tmp_path: Path) -> None:
    """On PostgreSQL itself, without a server in front of it, whose start makes the tables otherwise."""
    environment = server.operator()
    subprocess.run(["createdb", "empty"], env=os.environ | environment, check=True, timeout=60)
    address = "postgresql+psycopg2:///empty"
    assert open_at_once(8, tmp_path, **environment | {"MLFLOW_TRACKING_URI": address}) == ["1"] * 8
