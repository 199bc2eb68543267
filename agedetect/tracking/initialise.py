"""The first opening of an MLflow database: MLflow's own fails when several processes do it at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from alembic.util import CommandError
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from agedetect.errors import RunError
from agedetect.tracking.store import one_line, tracking_uri

_LOCK_NUMBER = 0x6167656465746563  # of PostgreSQL's advisory lock: "agedetec" in ASCII
_SECONDS_TO_CONNECT = 10


def ready_store() -> None:
    """Open the tracking store, and make its tables where there are none, one process after another.

    Does nothing for a tracking server, which makes its own. Raises RunError at once where MLflow would try for two
    minutes: the database can't be reached, made or written, is no database or has tables of another MLflow.
    """
    uri = mlflow.get_tracking_uri()
    try:
        if uri.startswith("sqlite:"):
            _ready_sqlite(uri)
        elif uri.startswith("postgresql"):
            with _advisory_lock(make_url(uri)):
                MlflowClient(uri)
    except ModuleNotFoundError as error:
        raise RunError(
            f"{tracking_uri()}: needs a package: {one_line(error)}; install it, or set MLFLOW_TRACKING_URI"
        ) from error
    except (CommandError, MlflowException, SQLAlchemyError, OSError) as error:
        raise RunError(
            f"{tracking_uri()}: no usable MLflow store: {one_line(error)}; mend it, or set MLFLOW_TRACKING_URI"
        ) from error


def _ready_sqlite(uri: str) -> None:
    name = make_url(uri).database
    if not name or name == ":memory:":
        return
    path = Path(name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{path}.lock")
        with FileLock(lock):
            if not path.exists():
                _make_sqlite(path)
            lock.unlink(missing_ok=True)  # whoever waits for it finds the file made
    # SQLite writes its journal beside the file
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise PermissionError(f"no right to write {path} and its folder")
    MlflowClient(uri)


def _make_sqlite(path: Path) -> None:
    """Beside its place and renamed: a process that is killed meanwhile leaves no half-made store."""
    new = path.with_name(f"{path.name}.new")
    for left_over in (new, new.with_name(f"{new.name}-journal")):
        left_over.unlink(missing_ok=True)
    uri = URL.create("sqlite", database=str(new)).render_as_string()
    store = SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
    store.engine.dispose()
    new.rename(path)


@contextmanager
def _advisory_lock(url: URL) -> Iterator[None]:
    """PostgreSQL lets it go when the connection ends, however that ends."""
    engine = create_engine(url, connect_args={"connect_timeout": _SECONDS_TO_CONNECT})
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": _LOCK_NUMBER})
            yield
    finally:
        engine.dispose()
