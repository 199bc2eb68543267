"""How long a command waits for the tracking server: MLflow's own limits add up to 504 s, and to far more of silence."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from agedetect.errors import ConfigError, StoreError

# Each request: three more attempts after 0, 2 and 4 s. A timeout is of one attempt: the answer to an upload comes when
# the server has put the file into its store.
LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_TIMEOUT, _RETRIES = 5, 2  # of the first question, which any server answers in milliseconds: seconds, and attempts
PATIENCE = "AGEDETECT_PATIENCE"  # seconds that a training waits for a server that is away
_PATIENCE = 180.0
_PAUSE = 2.0
_DATABASES = ("postgresql", "mysql")
log = logging.getLogger("agedetect")


def limit_waiting() -> None:
    """Set MLflow's limits, each unless the user has set it. Cheap: MLflow isn't imported."""
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)


def wake_on_interrupt() -> None:
    """Let Ctrl-C wake a main thread that waits for others, for a download say. Call it once MLflow is imported.

    MLflow imports polars where it is installed, whose handler restarts the wait (SA_RESTART).
    """
    if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        signal.siginterrupt(signal.SIGINT, True)


def require_server() -> None:
    """Raises StoreError, within 18 seconds, where the tracking server or database in use doesn't answer.

    A store on the local disk always passes.
    """
    from agedetect.tracking.store import reason, tracking_uri

    wake_on_interrupt()
    uri = tracking_uri()
    try:
        _ask()
    except ModuleNotFoundError as error:
        raise StoreError(f"{uri}: its database needs the package {error.name}: install it") from error
    except Exception as error:  # requests, urllib3, SQLAlchemy and each database driver have exceptions of their own
        raise StoreError(
            f"{uri}: the tracking server does not answer ({reason(error)}): start it, or set MLFLOW_TRACKING_URI"
        ) from error


def await_server() -> None:
    """Raises StoreError where it doesn't answer within `patience()` seconds."""
    deadline, told = time.monotonic() + patience(), False
    while True:
        try:
            return require_server()
        except StoreError as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                log.warning("waiting: %s", error)
            told = True
            time.sleep(_PAUSE)


def patience() -> float:
    """Raises ConfigError where the variable is no number of seconds."""
    given = os.environ.get(PATIENCE, str(_PATIENCE))
    try:
        return float(given)
    except ValueError as error:
        raise ConfigError(f"{PATIENCE}={given}: give seconds, such as {_PATIENCE:.0f}") from error


def _ask() -> None:
    """Any answer counts but a gateway's 5xx: a server behind a gateway may have no /health."""
    import mlflow
    import sqlalchemy
    from mlflow.utils import credentials, rest_utils

    uri = mlflow.get_tracking_uri()
    if uri.startswith(("http://", "https://")):
        host: Any = credentials.get_default_host_creds
        request: Any = rest_utils.http_request
        request(host(uri), "/health", "GET", max_retries=_RETRIES, timeout=_TIMEOUT)
    elif uri.startswith(_DATABASES):
        engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": _TIMEOUT})
        try:
            engine.connect().close()
        finally:
            engine.dispose()
