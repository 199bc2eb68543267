"""A tracking server that goes away during a training stops nothing, loses nothing and gets nothing twice."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agedetect.errors import StoreError
from agedetect.tracking.patience import await_server
from agedetect.tracking.registry import registered_before
from conftest import SMALL_RUN, command_environment, listen_to_ctrl_c, options, program, run_command
from export_store import tracking
from mlflow_server import MlflowServer

pytestmark = pytest.mark.slow
EPOCHS = int(str(SMALL_RUN["epochs"]))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path)
    server.start()
    yield server
    server.kill()


def points(server: MlflowServer, run_id: str) -> Counter[tuple[str, int]]:
    """How often each metric's step is in the database."""
    with closing(sqlite3.connect(server.database)) as database:
        rows = database.execute("SELECT key, step FROM metrics WHERE run_uuid = ?", [run_id])
        return Counter((key, step) for key, step in rows if not key.startswith("system/"))


def require_whole(server: MlflowServer, run_id: str) -> None:
    """Everything that a finished training leaves, each once."""
    client = server.client()
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    counted = points(server, run_id)
    assert set(counted.values()) == {1}
    for name in ("train/loss", "validation/mae", "train/images_per_second"):
        assert sorted(step for key, step in counted if key == name) == list(range(1, EPOCHS + 1))
    assert counted["test/mae", 0] == 1
    paths = {item.path for folder in ("", "data", "evaluation") for item in client.list_artifacts(run_id, folder)}
    assert {"config.json", "data/splits.csv", "evaluation/evaluation.html", "model_card.md"} <= paths
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    assert [version.name for version in versions] == ["agedetect"]
    assert client.get_model_version_by_alias("agedetect", "candidate").run_id == run_id
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    assert len(models) == 1
    with tracking(server.uri):
        assert registered_before(f"models:/{models[0].model_id}", "agedetect") is not None


def train_until(line: str, server: MlflowServer, folder: Path, faces: Path, patience: str) -> subprocess.Popen[str]:
    return start(
        [program("agedetect"), "train", "--data-dir", faces, *options(SMALL_RUN)], line, server, folder, patience
    )


def start(
    command: list[str | Path], line: str, server: MlflowServer, folder: Path, patience: str = "1"
) -> subprocess.Popen[str]:
    """Returns when the command has written `line`."""
    environment = command_environment(folder, MLFLOW_TRACKING_URI=server.uri, AGEDETECT_PATIENCE=patience)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=listen_to_ctrl_c
    )
    assert process.stderr is not None
    written = []
    for text in process.stderr:
        written.append(text)
        if text.startswith(line):
            return process
    raise AssertionError("".join(written))


def test_an_outage_loses_nothing_and_doubles_nothing(server: MlflowServer, drawn_faces: Path, tmp_path: Path) -> None:
    process = train_until("epoch 1", server, tmp_path, drawn_faces, patience="180")
    server.kill()
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"epoch {EPOCHS}"):
            break
    server.start()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    (run_id,) = [run.info.run_id for run in server.client().search_runs(["1"])]
    require_whole(server, run_id)
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_a_server_never_got_is_sent_later(server: MlflowServer, drawn_faces: Path, tmp_path: Path) -> None:
    process = train_until("epoch 1", server, tmp_path, drawn_faces, patience="1")
    server.kill()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in said
    (line,) = re.findall(r"^Error: run .*$", said, re.MULTILINE)
    (run_id,) = re.findall(r"agedetect sync ([0-9a-f]{32})$", line)
    assert f"{server.uri} lacks a part" in line
    report = list((tmp_path / "runs" / run_id).rglob("evaluation.html"))
    assert len(report) == 1  # to be read before the server is back

    listed = run_command([program("agedetect"), "runs"], tmp_path)
    assert re.match(rf"{run_id} .* to be sent .* epoch {EPOCHS} of {EPOCHS}, {server.uri}\n", listed.stdout)
    refused = run_command([program("agedetect"), "train", "--resume", "last"], tmp_path)
    assert refused.returncode == 1
    assert f"run {run_id}: it is trained; send what its server lacks with: agedetect sync {run_id}" in refused.stderr

    server.start()
    sent = run_command([program("agedetect"), "sync"], tmp_path)
    assert sent.stdout.endswith(f"run {run_id}: sent; model models:/agedetect@candidate\n"), sent.stderr
    require_whole(server, run_id)
    assert list((tmp_path / "runs").iterdir()) == []


def test_ctrl_c_ends_a_search_whose_server_is_silent(server: MlflowServer, drawn_faces: Path, tmp_path: Path) -> None:
    """Which takes longer than one that is away and refuses: neither the trial's run nor the study's can be ended."""
    shorter = {name: value for name, value in SMALL_RUN.items() if name != "finetune_learning_rate"}
    process = start(
        [program("agedetect"), "tune", drawn_faces, "--trials", "2", *options(shorter)], "trial 0", server, tmp_path
    )
    assert server._process is not None
    os.killpg(server._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 130, said
    assert "Traceback" not in said


def test_what_needs_the_server_waits_for_it(
    server: MlflowServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a fold does that begins while the server is away."""
    server.kill()
    monkeypatch.setenv("AGEDETECT_PATIENCE", "0")
    with tracking(server.uri):
        with pytest.raises(StoreError, match="does not answer"):
            await_server()
        monkeypatch.setenv("AGEDETECT_PATIENCE", "60")
        back = threading.Timer(1, server.start)
        back.start()
        await_server()
        back.join()
    (told,) = [record.message for record in caplog.records if record.name == "agedetect"]
    assert told.startswith(f"waiting: {server.uri}: the tracking server does not answer")
