"""The database of a study: the MLflow store's or one beside it, and locks in it that processes share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import mlflow
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from optuna.exceptions import StorageInternalError
from sqlalchemy import Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from agedetect.errors import ConfigError, RunError
from agedetect.tracking.store import one_line

_POLL_SECONDS = 0.2  # for PostgreSQL's lock: psycopg2 hears no Ctrl-C while a query waits


def study_url(given: str = "") -> str:
    """`given`, or the MLflow store's PostgreSQL, or a SQLite file: beside the store's, else in the working folder.

    Raises ConfigError for another kind of database.
    """
    tracking = mlflow.get_tracking_uri()
    try:
        found = make_url(given or tracking)
    except ArgumentError as error:
        if given:
            raise ConfigError(f"--storage {given}: no database: give sqlite:///FILE or postgresql://...") from error
        return "sqlite:///optuna.db"
    backend = found.get_backend_name()
    if given and backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"--storage: {backend} is not supported: give sqlite:///FILE or postgresql://...")
    if not given and backend == "sqlite" and found.database:
        file = Path(found.database)
        beside = found.set(database=str(file.with_name(f"{file.stem}-optuna.db")))
        return beside.render_as_string(hide_password=False)
    return given or (tracking if backend == "postgresql" else "sqlite:///optuna.db")


def shown(url: str) -> str:
    """Without its password."""
    return make_url(url).render_as_string(hide_password=True)


@contextmanager
def locked(url: str, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Holds the lock `name` of the database, which ends with its process; whether it was had, always if it may wait."""
    if is_postgresql(url):
        with create_engine(url, poolclass=NullPool).connect() as connection:
            while not (held := _taken(connection, name)) and wait:
                time.sleep(_POLL_SECONDS)
            yield held
        return
    lock = FileLock(f"{make_url(url).database}.{quote(name, safe='')}.lock")
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise RunError(f"{url}: the study can't be kept there: {one_line(error)}; give another --storage") from error
    try:
        yield True
    finally:
        lock.release()


def _taken(connection: Connection, name: str) -> bool:
    take = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
    held = bool(connection.execute(take, {"name": name}).scalar())
    connection.commit()
    return held


@contextmanager
def study_errors(url: str) -> Iterator[None]:
    """What MLflow's store and the study's database say, as one line that names the one that failed."""
    try:
        yield
    except MlflowException as error:
        raise RunError(f"the MLflow store failed: {one_line(error)}; the same command goes on") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        raise RunError(f"{shown(url)}: the study can't be kept: {one_line(error)}; the same command goes on") from error


def is_postgresql(url: str) -> bool:
    return make_url(url).get_backend_name() == "postgresql"
