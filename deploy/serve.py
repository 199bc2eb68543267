"""The shared MLflow server of compose.yaml without containers: PostgreSQL, an object store and `mlflow server`.

All that they keep is in FOLDER. The secrets come from the environment, as compose.yaml's do. Ctrl-C stops all three.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

import objects
import postgres

HERE = Path(__file__).resolve().parent
SECRETS = (
    "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
)
SECONDS_TO_START, SECONDS_TO_STOP = 300, 30


class ServerError(Exception):
    """One of the three doesn't start or has ended; one line."""


@dataclass(frozen=True)
class Server:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def require_running(self) -> None:
        if self.process.poll() is not None:
            raise ServerError(f"{self.name} has ended with status {self.process.returncode}: see {self.log}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made where it is missing")
    parser.add_argument("--host", default="127.0.0.1", help="the address that MLflow listens at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="MLflow's; the other two take the next (default: 5000)")
    parser.add_argument("--workers", type=int, default=2, help="processes of MLflow (default: %(default)s)")
    parser.add_argument("--allowed-hosts", help="what clients call the server, with the port, separated by commas")
    arguments = parser.parse_args()
    if missing := [name for name in SECRETS if not os.environ.get(name)]:
        sys.exit(f"set {', '.join(missing)} in the environment: there are no default passwords")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command = mlflow_command(arguments.host, arguments.port, arguments.workers, arguments.allowed_hosts)
        serve(arguments.folder.resolve(), arguments.host, arguments.port, command)
    except KeyboardInterrupt:
        print("stopped")
    except (postgres.PostgresError, ServerError, OSError) as error:
        sys.exit(str(error))


def serve(folder: Path, host: str, port: int, command: Sequence[str]) -> None:
    """`command` is MLflow's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "objects").mkdir(exist_ok=True)
    os.environ.update(addresses(port))
    postgres.make(folder / "database", os.environ["POSTGRES_PASSWORD"])
    # SIGINT is PostgreSQL's fast shutdown: it waits for no client and loses nothing
    database = started("database", postgres.command(folder / "database", port + 1), folder, signal.SIGINT)
    store = started("objects", objects_command(folder / "objects", port + 2), folder)
    mlflow = started("mlflow", command, folder)
    with database as first:
        wait(first, make_database)
        with store as second:
            wait(second, lambda: objects.create(objects.connect()))
            with mlflow as third:
                wait(third, lambda: urllib.request.urlopen(f"http://{host}:{port}/health", timeout=5).close())
                print(f"ready: http://{host}:{port}; database at port {port + 1}, objects at {port + 2}", flush=True)
                while True:
                    for server in (first, second, third):
                        server.require_running()
                    time.sleep(1)


def addresses(port: int) -> dict[str, str]:
    """Where the servers find each other: what libpq, boto3 and MLflow read from the environment."""
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port + 1),
        "PGUSER": postgres.NAME,
        "PGPASSWORD": os.environ["POSTGRES_PASSWORD"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port + 2}",
        "MLFLOW_AUTH_CONFIG_PATH": str(HERE / "basic_auth.ini"),
        "NANIO_ACCESS_KEY": os.environ["AWS_ACCESS_KEY_ID"],
        "NANIO_SECRET_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
    }


def objects_command(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "nanio", "serve", f"--data-dir={folder}", "--host=127.0.0.1", f"--port={port}"]


def mlflow_command(host: str, port: int, workers: int, allowed_hosts: str | None) -> list[str]:
    """As in compose.yaml, with MLflow's own list of allowed hosts (this machine) where none is given."""
    return [
        *(sys.executable, "-m", "mlflow", "server", f"--host={host}", f"--port={port}", f"--workers={workers}"),
        "--app-name=basic-auth",
        "--backend-store-uri=postgresql+psycopg2:///mlflow",
        "--serve-artifacts",
        f"--artifacts-destination=s3://{objects.BUCKET}/artifacts",
        *([f"--allowed-hosts={allowed_hosts}"] if allowed_hosts else []),
    ]


@contextmanager
def started(name: str, command: Sequence[str], folder: Path, stop: signal.Signals = signal.SIGTERM) -> Iterator[Server]:
    """In a session of its own, so that Ctrl-C reaches only this script, which stops them in order."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(name, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(stop)
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait(server: Server, is_ready: Callable[[], object]) -> None:
    """Until `is_ready` raises nothing."""
    end = time.monotonic() + SECONDS_TO_START
    while True:
        server.require_running()
        try:
            is_ready()
            return
        except Exception as error:  # each server's client has errors of its own
            if time.monotonic() > end:
                raise ServerError(f"{server.name} isn't ready after {SECONDS_TO_START} s: see {server.log}") from error
            time.sleep(0.2)


def make_database() -> None:
    """Where there is none. Raises psycopg2.OperationalError while the server starts."""
    connection = psycopg2.connect(dbname="postgres", connect_timeout=5)
    try:
        connection.autocommit = True  # CREATE DATABASE runs in no transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [postgres.NAME])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {postgres.NAME}")
    finally:
        connection.close()


if __name__ == "__main__":
    main()
