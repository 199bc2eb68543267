"""Kill exports at random moments, export again, and look at the files and at what is registered afterwards.

    python tests/kill_exports.py kills --kills 12            # a row each, and what was lost or doubled
    python tests/kill_exports.py kills --kills 12 --server   # through a real MLflow server

Each is an export of one drawn-faces model with its registration, killed (SIGKILL) after a random time; every other one
replaces the file of an earlier export.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import click
from mlflow import MlflowClient

from agedetect.synthetic.faces import draw_faces
from agedetect_export.files import description_path, report_path
from agedetect_runtime import AgeEstimator
from conftest import SMALL_RUN, options
from kill_trainings import environment
from mlflow_server import MlflowServer

# timm's smallest network whose ages differ without training, as the exporter's accuracy check demands
TRAINED = SMALL_RUN | {"model_name": "timm/test_resnet", "epochs": 2, "head_epochs": 1, "finetune_learning_rate": 1e-3}

FILES = (Path, report_path, description_path)  # that an export makes, by its output


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--kills", default=12)
@click.option("--seed", default=0)
@click.option("--server", "through_server", is_flag=True, help="Through an MLflow server instead of SQLite.")
def main(folder: Path, kills: int, seed: int, through_server: bool) -> None:
    """Work in FOLDER, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "agedetect").mkdir(parents=True)
    folder = folder.absolute()
    draw_faces(folder / "faces", 160, seed=1)
    with ExitStack() as stack:
        server = MlflowServer(folder) if through_server else None
        if server:
            server.start()
            stack.callback(server.kill)
        command = [sys.executable, "-m", "agedetect", "train", "--data-dir", str(folder / "faces"), *options(TRAINED)]
        subprocess.run(command, cwd=folder / "agedetect", env=environment(folder / "agedetect", server), check=True)
        client = MlflowClient(server.uri if server else f"sqlite:///{folder / 'agedetect' / 'mlflow.db'}")
        exports = Exports(folder / "agedetect", server, client)
        earlier = folder / "agedetect" / "earlier.onnx"
        exports.whole(earlier, 0)
        chance = random.Random(seed)
        counts = [exports.kill(number, chance.random(), earlier) for number in range(1, kills + 1)]
        click.echo(f"{sum(killed for killed, _ in counts)} kills, {sum(bad for _, bad in counts)} with something wrong")


class Exports:
    """Of the model in `folder`, one after the other."""

    def __init__(self, folder: Path, server: MlflowServer | None, client: MlflowClient) -> None:
        self._folder, self._client = folder, client
        self._environment = environment(folder, server)
        self._seconds = 0.0  # that the last whole one took

    def start(self, output: Path, number: int) -> subprocess.Popen[str]:
        """Each number has files of its own: the tolerance is written in them. The same ones would be logged once."""
        command = [sys.executable, "-m", "agedetect_export", "models:/agedetect@candidate", "--output", str(output)]
        command += ["--force", "--register", name_of(number), "--alias", "champion"]
        command += ["--tolerance-years", f"{0.001 + number * 1e-6:g}"]
        return subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def whole(self, output: Path, number: int) -> None:
        began = time.monotonic()
        process = self.start(output, number)
        _, said = process.communicate()
        self._seconds = time.monotonic() - began
        assert process.returncode == 0, said

    def kill(self, number: int, share: float, earlier: Path) -> tuple[bool, bool]:
        """One kill after a share of an export; whether it was still alive, and whether anything was wrong then."""
        delay = share * self._seconds
        output, name = self._folder / name_of(number) / "age.onnx", name_of(number)
        output.parent.mkdir()
        logged_before = self._logged()
        if number % 2:
            for path in FILES:
                shutil.copyfile(path(earlier), path(output))
        process = self.start(output, number)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found_alive = process.returncode == -signal.SIGKILL
        logged, registered = self._logged() - logged_before, len(self._versions(name))
        problems = []
        if output.exists() and not is_whole(output):
            problems.append("cut off")
        if number % 2 and not output.exists():
            problems.append("the earlier file is gone")
        self.whole(output, number)
        if not is_whole(output):
            problems.append("the next export is cut off")
        left = {path.name for path in output.parent.iterdir()} - {path(output).name for path in FILES}
        if left:
            problems.append(f"left: {sorted(left)}")
        versions = self._versions(name)
        champion = str(self._client.get_model_version_by_alias(name, "champion").version)
        if versions != [champion]:
            problems.append(f"versions {versions}")
        if self._logged() != logged_before + 1:
            problems.append(f"{self._logged() - logged_before} logged models")
        click.echo(
            f"{number:2}. after {delay:.1f} s, {'killed' if found_alive else 'had ended'}, "
            f"{logged} logged and {registered} registered then: {'; '.join(problems) or 'nothing'}"
        )
        return found_alive, bool(problems)

    def _versions(self, name: str) -> list[str]:
        return [str(version.version) for version in self._client.search_model_versions(f"name = '{name}'")]

    def _logged(self) -> int:
        """How many logged models the training's run has, its own among them."""
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
        return len(self._client.search_logged_models(experiments))


def name_of(number: int) -> str:
    return f"export{number:02}"


def is_whole(output: Path) -> bool:
    """It opens."""
    with AgeEstimator(output, device="cpu"):
        return True


if __name__ == "__main__":
    main()
