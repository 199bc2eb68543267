"""deploy/serve.py as a process, with an administrator and two users, of whom one has no rights."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, command_environment, listen_to_ctrl_c

DEPLOY = ROOT / "deploy"
SECRETS = {
    "POSTGRES_PASSWORD": "a database's password",
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "an object store's key",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "an administrator's",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a session's key",
}
PASSWORDS = {"admin": SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"], "anna": "a user's password", "ben": "a user's password"}


@dataclass(frozen=True)
class SharedServer:
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, user: str, password: str | None = None) -> dict[str, str]:
        """The environment of one who uses the server."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": PASSWORDS[user] if password is None else password,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "600",  # requests are counted, not seconds
            "PYTHONWARNINGS": "ignore",
        }

    def operator(self) -> dict[str, str]:
        """The environment of one who backs it up, as docs/deploy.md sets it."""
        return SECRETS | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port + 1),
            "PGUSER": "mlflow",
            "PGPASSWORD": SECRETS["POSTGRES_PASSWORD"],
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port + 2}",
        }

    def requests(self) -> list[str]:
        """'GET /api/2.0/mlflow/runs/get 200' of every request so far."""
        logged = (self.folder / "mlflow.log").read_text()
        return [f"{method} {path} {status}" for method, path, status in REQUEST.findall(logged)]


REQUEST = re.compile(r'"([A-Z]+) ([^ ?]+)[^ ]* HTTP/1.1" (\d+)')


@contextmanager
def shared_server() -> Iterator[SharedServer]:
    # not in pytest's folder, which PostgreSQL's user may not enter
    with tempfile.TemporaryDirectory(prefix="shared-server-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        server = SharedServer(Path(name), free_ports(3))
        options = [name, "--port", str(server.port), "--workers", "1"]
        process = subprocess.Popen(
            [sys.executable, str(DEPLOY / "serve.py"), *options],
            env=os.environ | SECRETS,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=listen_to_ctrl_c,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("ready"), process.communicate()
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == ("stopped\n", "")


def free_ports(number: int) -> int:
    """The first of `number` free ports in a row."""
    for first in range(20000, 30000, number):
        taken = []
        for port in range(first, first + number):
            with closing(socket.socket()) as probe:
                taken.append(probe.connect_ex(("127.0.0.1", port)) == 0)
        if not any(taken):
            return first
    raise AssertionError("no free ports")


def administer(server: SharedServer, *arguments: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, DEPLOY / "users.py", *arguments],
        env=os.environ | server.client("admin") | environment,
        check=True,
        timeout=120,
    )


def run(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """In `folder`; the caller looks at the exit status."""
    known = command_environment(folder, **environment)
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=550, check=False)
