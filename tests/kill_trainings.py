"""Kill trainings at random moments, go on with them, and count what is in the database afterwards.

    python tests/kill_trainings.py kills --kills 30            # a row each, and what was lost or doubled
    python tests/kill_trainings.py kills --kills 10 --server   # through a real MLflow server

Each training is SMALL_RUN on drawn faces. It is killed (SIGKILL) up to a second and a half after a line
that is drawn at random, resumed with `--resume last`, and compared with one that nobody killed, to the last digit.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import click

from agedetect.synthetic.faces import draw_faces
from conftest import SMALL_RUN, command_environment, options
from mlflow_server import MlflowServer

LINES = ("start=", "run ", "epoch 1", "epoch 2", "epoch 3", "epoch 4", "test MAE", "Successfully", "Created version")
TRAIN = [sys.executable, "-m", "agedetect", "train"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--kills", default=30)
@click.option("--seed", default=0)
@click.option("--server", "through_server", is_flag=True, help="Through an MLflow server instead of SQLite.")
def main(folder: Path, kills: int, seed: int, through_server: bool) -> None:
    """Work in FOLDER, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw_faces(folder / "faces", 160, seed=1)
    server = MlflowServer(folder) if through_server else None
    if server:
        server.start()
    chance = random.Random(seed)
    try:
        (folder / "whole").mkdir()
        train(folder / "whole", folder / "faces", server)
        expected = history(folder / "whole", server)
        faults = found_alive = 0
        for number in range(kills):
            place = folder / f"kill{number:02}"
            place.mkdir()
            line, delay = chance.choice(LINES), chance.uniform(0, 1.5)
            said = killed(place, folder / "faces", server, line, delay)
            problems = go_on(place, folder / "faces", server, expected)
            faults += bool(problems)
            found_alive += said == "killed"
            click.echo(f"{number + 1:2}. {line!r} + {delay:.2f} s, {said}: {'; '.join(problems) or 'nothing'}")
            shutil.rmtree(place)
        click.echo(f"{found_alive} kills, {faults} with something lost or doubled")
    finally:
        if server:
            server.kill()


def environment(folder: Path, server: MlflowServer | None) -> dict[str, str]:
    extra = {"MLFLOW_TRACKING_URI": server.uri} if server else {}
    return {**command_environment(folder, **extra), "MLFLOW_EXPERIMENT_NAME": folder.name, "PYTHONUNBUFFERED": "1"}


def train(folder: Path, faces: Path, server: MlflowServer | None) -> None:
    command = [*TRAIN, "--data-dir", str(faces), *settings(folder)]
    subprocess.run(command, cwd=folder, env=environment(folder, server), check=True, capture_output=True)


def settings(folder: Path) -> list[str]:
    return options({**SMALL_RUN, "registered_model_name": folder.name})


def killed(folder: Path, faces: Path, server: MlflowServer | None, line: str, delay: float) -> str:
    """Train until `line` and `delay` seconds more; what the kill found."""
    command = [*TRAIN, "--data-dir", str(faces), *settings(folder)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder, server),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    for text in process.stderr:
        if text.startswith(line):
            break
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return "killed" if process.wait() == -signal.SIGKILL else "had ended"


def go_on(
    folder: Path, faces: Path, server: MlflowServer | None, expected: Counter[tuple[str, int, float]]
) -> list[str]:
    """Resume what there is, or start anew where there is nothing; what is wrong afterwards."""
    kept = list((folder / "runs").glob("*/run.json"))
    resume, sync = [*TRAIN, "--resume", "last"], [sys.executable, "-m", "agedetect", "sync"]
    if kept:
        done = subprocess.run(
            resume, cwd=folder, env=environment(folder, server), capture_output=True, text=True, check=False
        )
        if "agedetect sync" in done.stderr:
            done = subprocess.run(
                sync, cwd=folder, env=environment(folder, server), capture_output=True, text=True, check=False
            )
        if done.returncode:
            return [done.stderr.strip().splitlines()[-1]]
    elif not history(folder, server):
        train(folder, faces, server)
    problems = []
    found = history(folder, server)
    if missing := expected - found:
        problems.append(f"{missing.total()} points missing")
    if double := found - expected:
        problems.append(f"{double.total()} points too many")
    if list((folder / "runs").iterdir()):
        problems.append("the folder is still there")
    with closing(sqlite3.connect(database(folder, server))) as store:
        (versions,) = store.execute("SELECT count(*) FROM model_versions WHERE name = ?", [folder.name]).fetchone()
        (models,) = store.execute(
            "SELECT count(*) FROM logged_models JOIN experiments USING (experiment_id) WHERE experiments.name = ?",
            [folder.name],
        ).fetchone()
    if (versions, models) != (1, 1):
        problems.append(f"{versions} versions of {models} models")
    return problems


def database(folder: Path, server: MlflowServer | None) -> Path:
    return server.database if server else folder / "mlflow.db"


def history(folder: Path, server: MlflowServer | None) -> Counter[tuple[str, int, float]]:
    """Every point of the folder's experiment but the clock's and the machine's, as often as it is there."""
    if not database(folder, server).exists():
        return Counter()
    with closing(sqlite3.connect(database(folder, server))) as store:
        rows = store.execute(
            "SELECT key, step, value FROM metrics JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)"
            " WHERE experiments.name = ?",
            [folder.name],
        )
        return Counter(row for row in rows if not row[0].startswith("system/") and "per_second" not in row[0])


if __name__ == "__main__":
    main()
