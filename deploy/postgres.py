"""A PostgreSQL server in a folder: found, made, and started as a process of ours."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

NAME = "mlflow"  # of the role and of the database


class PostgresError(Exception):
    """PostgreSQL is missing or refuses; one line."""


def program(name: str) -> Path:
    """Debian keeps PostgreSQL's programs out of the PATH, by version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    places = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise PostgresError(f"no {name} found; install PostgreSQL, for example with: apt-get install postgresql")
    return Path(found)


def server_user() -> str | None:
    """PostgreSQL refuses to run as root; then `postgres`, Debian's user for it, or `nobody`."""
    if os.geteuid() != 0:
        return None
    return next(user.pw_name for name in ("postgres", "nobody") for user in pwd.getpwall() if user.pw_name == name)


def as_user(command: list[str | Path]) -> list[str]:
    """The command as the server's user."""
    user = server_user()
    prefix = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"] if user else []
    return [*prefix, *map(str, command)]


def make(data: Path, password: str) -> None:
    """A new cluster with one role, which needs its password; nothing where there is one. Raises PostgresError."""
    if (data / "PG_VERSION").exists():
        return
    data.mkdir(mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(password)
        file.flush()
        if user := server_user():
            shutil.chown(data, user)
            shutil.chown(file.name, user)
        options = ["--username", NAME, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"]
        command = as_user([program("initdb"), "--pgdata", data, "--pwfile", file.name, *options])
        done = subprocess.run(command, cwd=data, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PostgresError(f"{data}: can't be made: {done.stderr.strip().splitlines()[-1]}")


def command(data: Path, port: int) -> list[str]:
    """The server in the foreground, reached by TCP on this machine only."""
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return as_user([program("postgres"), "-D", data, *options])
