"""Several first trainings at once on one new SQLite store, and stores that can't be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from agedetect.errors import RunError
from agedetect.tracking.initialise import ready_store
from conftest import command_environment
from export_store import tracking
from first_opening import open_at_once


@pytest.mark.slow
def test_six_first_trainings_at_once_find_one_experiment(tmp_path: Path) -> None:
    """Without `ready_store`, five or all six of them die in MLflow's migrations."""
    assert open_at_once(6, tmp_path) == ["1"] * 6
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.slow
def test_a_kill_while_the_store_is_made_leaves_none_that_is_half_made(tmp_path: Path) -> None:
    store, new = tmp_path / "mlflow.db", tmp_path / "mlflow.db.new"
    code = "from agedetect.tracking.initialise import ready_store; ready_store()"
    with subprocess.Popen([sys.executable, "-c", code], env=command_environment(tmp_path)) as process:
        while not (new.exists() and new.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not store.exists()
    with tracking(f"sqlite:///{store}"):
        ready_store()
        assert mlflow.get_experiment_by_name("Default") is not None
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_what_cannot_be_a_store_is_one_line_at_once(tmp_path: Path) -> None:
    junk = tmp_path / "junk.db"
    junk.write_text("no database, but long enough to be read as one\n" * 9)
    old = tmp_path / "old.db"
    with sqlite3.connect(old) as database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    (tmp_path / "file").touch()
    refused = "postgresql+psycopg2://name:secret@127.0.0.1:9/runs"
    for uri in (f"sqlite:///{junk}", f"sqlite:///{tmp_path / 'file' / 'runs.db'}", f"sqlite:///{old}", refused):
        began = time.monotonic()
        with tracking(uri), pytest.raises(RunError) as told:
            ready_store()
        assert str(told.value).startswith(uri.replace("name:secret@", "").split("runs.db")[0])
        assert "secret" not in str(told.value)
        assert "MLFLOW_TRACKING_URI" in str(told.value)
        assert "\n" not in str(told.value)
        assert time.monotonic() - began < 30  # MLflow's own retries take 105 s
