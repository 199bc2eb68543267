"""Whole trainings that begin at one moment on a store that isn't there yet, and what is in it afterwards.

python tests/first_trainings.py first --trainings 6                # one SQLite file
python tests/first_trainings.py first --trainings 8 --postgresql   # an empty database of deploy/serve.py's PostgreSQL
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click
from mlflow import MlflowClient

from agedetect.synthetic.faces import draw_faces
from conftest import SMALL_RUN, command_environment, options
from shared_server import shared_server


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--trainings", default=6)
@click.option("--postgresql", is_flag=True)
def main(folder: Path, trainings: int, postgresql: bool) -> None:
    """Work in FOLDER, which is made anew."""
    folder = folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw_faces(folder / "faces", 160, seed=1)
    with ExitStack() as stack:
        if postgresql:
            os.environ |= stack.enter_context(shared_server()).operator()
            subprocess.run(["createdb", "empty"], check=True)
        uri = "postgresql+psycopg2:///empty" if postgresql else f"sqlite:///{folder / 'mlflow.db'}"
        environment = command_environment(folder, MLFLOW_TRACKING_URI=uri)
        command = [sys.executable, "-m", "agedetect", "train", "--data-dir", "faces", *options(SMALL_RUN)]
        started = [
            subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            for _ in range(trainings)
        ]
        for process in started:
            _, said = process.communicate()
            if process.returncode:
                click.echo(said.decode().splitlines()[-1])
        client = MlflowClient(uri)
        experiments = [found.experiment_id for found in client.search_experiments() if found.name == "agedetect"]
        runs = client.search_runs(experiments)
        points = Counter(len(client.get_metric_history(run.info.run_id, "validation/mae")) for run in runs)
        click.echo(f"{trainings} trainings: exit codes {Counter(process.returncode for process in started)}")
        click.echo(f"{len(experiments)} experiment, runs {Counter(run.info.status for run in runs)}")
        versions = client.search_model_versions("name = 'agedetect'")
        click.echo(f"{len(versions)} versions, points of a run {points}")
        click.echo(f"run folders left: {len(list((folder / 'runs').iterdir()))}")


if __name__ == "__main__":
    main()
