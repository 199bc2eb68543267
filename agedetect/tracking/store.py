"""The MLflow store in use: where it is, and downloads from it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import mlflow
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from agedetect.errors import RunError
from agedetect_runtime import ModelError

FINISHED = RunStatus.to_string(RunStatus.FINISHED)


def tracking_uri() -> str:
    """The tracking URI in use, without the user name and password that it may carry."""
    uri = mlflow.get_tracking_uri()
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def store_address() -> str:
    """`tracking_uri`, for any working directory."""
    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return uri
    place = Path(unquote(urlsplit(uri).path.removeprefix("/")))  # "sqlite:///mlflow.db" is relative
    return f"sqlite:///{quote(str(place.absolute()))}"


def store_exists() -> bool:
    """MLflow makes an empty database where there is none, which would hide a wrong working directory."""
    parts = urlsplit(mlflow.get_tracking_uri())
    # "sqlite:///mlflow.db" is relative, "sqlite:////srv/my%20runs/mlflow.db" is not
    return parts.scheme != "sqlite" or Path(unquote(parts.path.removeprefix("/"))).is_file()


def require_store(address: str) -> None:
    if not store_exists():
        raise ModelError(
            f"{address}: no MLflow store at {tracking_uri()}; "
            "run in the folder that the model was trained in, or set MLFLOW_TRACKING_URI"
        )


def download(uri: str, folder: Path) -> Path:
    """An artifact by its MLflow URI, into `folder`. Raises ModelError where it can't be downloaded."""
    try:
        with no_transfer_bars():
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise ModelError(not_found(uri, error)) from error
    except ModuleNotFoundError as error:
        raise ModelError(missing_package(uri, error)) from error


def not_found(address: str, error: Exception) -> str:
    return f"{address}: not found in {tracking_uri()}: {one_line(error)}"


def missing_package(thing: str, error: ModuleNotFoundError) -> str:
    """MLflow imports the client of an artifact store, boto3 for S3 say, only when it talks to the store."""
    return f"{thing}: its artifact store needs a package that is not installed: {one_line(error)}; install it"


def reason(error: BaseException) -> str:
    """What happened at the bottom, such as "connection refused": the exceptions above it repeat the address."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return one_line(error)


def one_line(error: BaseException) -> str:
    """Without the password that an address in it may carry."""
    text = re.sub(r"(\w+://)[^/@\s]+@", r"\1", str(error))
    return " ".join(text.split())[:300] or type(error).__name__


@contextmanager
def store_errors(thing: str) -> Iterator[None]:
    """Where the store in use can't be reached, or refuses: RunError, which begins with `thing`."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RunError(f"{thing}: {tracking_uri()}: {reason(error)}") from error
    except ModuleNotFoundError as error:
        raise RunError(missing_package(thing, error)) from error


def upload_files(root: Path, upload: Callable[[str, str | None], object]) -> None:
    """`upload` each file below `root` into the folder that it has there.

    File by file: MLflow's log_artifacts uses threads, for which the interpreter waits at its exit.
    """
    with no_transfer_bars():
        for file in sorted(path for path in root.rglob("*") if path.is_file()):
            below = file.relative_to(root).parent.as_posix()
            upload(str(file), None if below == "." else below)


@contextmanager
def one_attempt(seconds: int = 0) -> Iterator[None]:
    """MLflow asks once: its retries would send what was carried out, but not answered, a second time.

    It waits `seconds` for the answer; 0: as long as it is set to.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"))
        if seconds:
            stack.enter_context(_environment("MLFLOW_HTTP_REQUEST_TIMEOUT", str(seconds)))
        yield


@contextmanager
def no_transfer_bars() -> Iterator[None]:
    """Turn MLflow's progress bars off: ours are shown."""
    with _environment("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"):
        yield


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
