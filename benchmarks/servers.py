"""A server in a process of its own: started, waited for, measured and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import psutil

_START_SECONDS = 300.0  # a new environment is built meanwhile


class Server(NamedTuple):
    port: int
    process: psutil.Process

    def megabytes(self) -> float:
        """Resident memory of the largest process: `mlflow` itself starts the server and waits."""
        processes = [self.process, *self.process.children(recursive=True)]
        return max(process.memory_info().rss for process in processes) / 1e6


def mlflow_command(model: str, port: int, env_manager: str = "local") -> list[str]:
    program = str(Path(sys.executable).with_name("mlflow"))
    return [program, "models", "serve", "-m", model, "-p", str(port), "--env-manager", env_manager]


def fastapi_command(port: int) -> list[str]:
    """`AGEDETECT_MODEL` names the model."""
    return [sys.executable, "-m", "uvicorn", "examples.fastapi_service:app", "--port", str(port)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def serving(command: Sequence[str], port: int, health: str, environment: Mapping[str, str]) -> Iterator[Server]:
    """Until the path `health` answers, then until the end of the block; what was started is killed.

    Raises RuntimeError, with what the process printed, where it ends or never answers.
    """
    with TemporaryFile() as output:
        started = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait(started, f"http://127.0.0.1:{port}{health}")
            yield Server(port, psutil.Process(started.pid))
        except RuntimeError as error:
            output.seek(0)
            raise RuntimeError(f"{error}\n{output.read().decode(errors='replace')}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def _wait(started: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if started.poll() is not None:
            raise RuntimeError(f"{started.args!r} ended with {started.returncode}")
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer in {_START_SECONDS:g} s")
