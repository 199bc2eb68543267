"""A study in the PostgreSQL of the MLflow store: tables of their own, and locks. Needs PostgreSQL's programs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from mlflow import MlflowClient
from optuna.trial import Trial
from sqlalchemy import create_engine, text

from agedetect.tracking.shared_study import SharedStudy
from agedetect.tracking.study_database import locked, study_url
from export_store import tracking

pytestmark = pytest.mark.external


def program(name: str) -> str:
    """Debian keeps them out of the PATH, by version."""
    folders = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"]]))
    if found is None:
        pytest.fail(f"no {name}: apt-get install postgresql")
    return found


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an empty database; the server refuses to run as root."""
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        if as_user:
            shutil.chown(folder, "nobody", "nogroup")
        data = f"{folder}/data"
        run = partial(subprocess.run, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        run([*as_user, program("initdb"), "-D", data, "-A", "trust", "-U", "me"])
        control = [*as_user, program("pg_ctl"), "-D", data, "-w", "-l", f"{folder}/log"]
        run([*control, "-o", f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=", "start"])
        try:
            yield f"postgresql://me@127.0.0.1:{port}/postgres"
        finally:
            run([*control, "-m", "immediate", "stop"])


def test_a_study_and_the_store_share_a_database_and_not_their_tables(store: str) -> None:
    def objective(trial: Trial) -> float:
        return trial.suggest_float("rate", 0, 1)

    with tracking(store):
        assert study_url() == store
        first, second = (SharedStudy(store, "shared", {"seed": 0}, {"rate": 0.5}) for _ in range(2))
        assert first.run_id == second.run_id
        while first.next(5, objective, pruned_from=0, seed=0) and second.next(5, objective, pruned_from=0, seed=0):
            pass
        assert first.count() == 5
        assert first.study.trials[0].value == 0.5
        assert MlflowClient().get_run(first.run_id).info.run_name == "shared"
    with create_engine(store).connect() as connection:
        found = connection.execute(
            text("SELECT table_schema FROM information_schema.tables WHERE table_name = 'alembic_version'")
        )
        assert sorted(row[0] for row in found) == ["optuna", "public"]


def test_a_lock_of_the_database_is_had_by_one_at_a_time(store: str) -> None:
    with locked(store, "study") as first:
        assert first
        with locked(store, "study", wait=False) as second:
            assert not second
        with locked(store, "other", wait=False) as third:
            assert third
    with locked(store, "study", wait=False) as again:
        assert again


def test_ctrl_c_ends_the_wait_for_a_lock(store: str) -> None:
    """With psycopg2, which hears it only between queries. The wait ends, too, when the lock is free."""
    url = store.replace("postgresql", "postgresql+psycopg2")
    main = threading.main_thread().ident
    assert main is not None
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(url, "busy"):
            held.set()
            free.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    began = time.monotonic()
    threading.Timer(2, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), locked(url, "busy"):
        pass
    assert time.monotonic() - began < 10  # and not the 20 s for which the lock is held
    threading.Timer(0.5, free.set).start()
    with locked(url, "busy") as mine:
        assert mine
    holder.join()
