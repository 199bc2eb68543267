"""A team's night: audit, train, evaluate, promote, export, register, infer. Only a better model serves in the morning.

    python examples/nightly.py UTKFace_data new_photos --config recipe.json --folder nights

Every night is one MLflow run, named by its date, and knows which steps are done: started again after a crash, the same
command goes on with the step that was stopped, a training with its last epoch. A model that isn't promoted is no
failure: the exit code is 0, and the last line says why. docs/nightly.md shows it under cron.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import click
import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from agedetect import TrainConfig, evaluate, export, read_faces, train
from agedetect.data.audit import audit
from agedetect.data.faces import FaceSet
from agedetect.errors import RunError, one_line_errors
from agedetect.reports.write import write_audit
from agedetect.tracking.patience import limit_waiting, require_server
from agedetect.tracking.promotion import promote
from agedetect.tracking.resuming import was_begun
from agedetect.tracking.runs import experiment_id
from agedetect.tracking.store import FINISHED, store_errors
from agedetect.tracking.sync import sent_if_trained

CHAMPION, EXPORTED = "champion", "data/exported/model.onnx"
log = logging.getLogger("nightly")


@dataclass
class Night:
    """What the steps work on. `run_id` is the night's run; the training's is a child of it."""

    run_id: str
    faces: FaceSet
    photos: Path
    config: TrainConfig
    folder: Path
    first: bool

    @property
    def name(self) -> str:
        return self.config.registered_model_name

    @property
    def pictures_name(self) -> str:
        """The registered name of the exported models, which take pictures."""
        return f"{self.name}-onnx"

    def done(self) -> dict[str, str]:
        """Step -> what it said."""
        tags = MlflowClient().get_run(self.run_id).data.tags
        return {name.removeprefix("step."): text for name, text in tags.items() if name.startswith("step.")}

    def keep(self, place: Path) -> None:
        """Log a file, or a folder under its name."""
        client = MlflowClient()
        if place.is_dir():
            client.log_artifacts(self.run_id, str(place), place.name)
        else:
            client.log_artifact(self.run_id, str(place))

    def version(self) -> ModelVersion:
        """What the night's training registered."""
        found = MlflowClient().search_model_versions(f"name = '{self.name}'")
        return next(version for version in found if version.run_id == training_run(self))

    def champion(self) -> str | None:
        aliases = MlflowClient().get_registered_model(self.name).aliases
        return str(aliases[CHAMPION]) if CHAMPION in aliases else None


def audit_faces(night: Night) -> str:
    write_audit(audit(night.faces), night.faces, night.folder / "audit")
    night.keep(night.folder / "audit")
    return f"{len(night.faces.faces)} faces, {len(night.faces.skipped)} files skipped"


def train_model(night: Night) -> str:
    """In a run whose id is known before it begins, so that the next try finds it."""
    client, run_id = MlflowClient(), training_run(night)
    if client.get_run(run_id).info.status != FINISHED and not sent_if_trained(run_id):
        if was_begun(run_id):
            train(night.faces, resume=run_id)
        else:
            os.environ["MLFLOW_RUN_ID"] = run_id  # as `mlflow run` does
            train(night.faces, night.config)
    return f"{night.name} version {night.version().version}, run {run_id}"


def training_run(night: Night) -> str:
    client = MlflowClient()
    run = client.get_run(night.run_id)
    if "training" not in run.data.tags:
        child = client.create_run(run.info.experiment_id, tags={"mlflow.parentRunId": night.run_id})
        client.set_tag(night.run_id, "training", child.info.run_id)
        return str(child.info.run_id)
    return str(run.data.tags["training"])


def evaluate_model(night: Night) -> str:
    report = evaluate(f"models:/{night.name}/{night.version().version}", night.faces)
    report.save(night.folder / "evaluation")
    night.keep(night.folder / "evaluation")
    return f"test MAE {report.result.overall.mae.value:.3f} years, n={report.result.n}"


def promote_model(night: Night) -> str:
    """Fails where there is no champion, so that the same night goes on once somebody has said yes to the first one."""
    address = f"models:/{night.name}/{night.version().version}"
    if night.champion() is None and not night.first:
        raise RunError(
            f"{night.name} has no champion yet: look at {address}, make it the first with `agedetect promote {address} "
            "--first`, and start the night again"
        )
    decision = promote(address, first=night.first)
    return f"{'promoted' if decision.moved or decision.is_champion else 'not promoted'}: {decision.reason}"


def export_model(night: Night) -> str:
    """Writes the file, and registers it as the model that takes pictures."""
    version = night.version()
    if night.champion() != str(version.version):
        return "not promoted: the champion's export stays"
    if "exported_as" in version.tags:
        return f"registered as {version.tags['exported_as']}"
    file = night.folder / "model.onnx"
    parity = export(
        f"models:/{night.name}/{version.version}",
        file,
        register=night.pictures_name,
        aliases=[CHAMPION],
        force=True,
    )
    return f"registered as {night.pictures_name}, worst difference {parity.worst_years:.1e} years"


def infer_photos(night: Night) -> str:
    """With the champion's export, tonight's or an earlier one."""
    address, place = f"models:/{night.pictures_name}@{CHAMPION}", str(night.folder / "champion")
    model = mlflow.artifacts.download_artifacts(address, dst_path=place)
    table = night.folder / "ages.csv"
    again = "--resume" if Path(f"{table}.part").exists() else "--force"
    command = [sys.executable, "-m", "agedetect_runtime", str(night.photos), "--onnx", str(Path(model) / EXPORTED)]
    ended = subprocess.run([*command, "--output", str(table), again], check=False)
    if ended.returncode:
        raise RunError(
            f"{night.photos}: agedetect-infer failed with exit code {ended.returncode}; start the night again"
        )
    night.keep(table)
    return f"{sum(1 for _ in table.open()) - 1} pictures in {table}"


STEPS = {
    "audit": audit_faces,
    "train": train_model,
    "evaluate": evaluate_model,
    "promote": promote_model,
    "export": export_model,
    "infer": infer_photos,
}


def night_run(name: str) -> str:
    """The night's run, found by its name or begun."""
    given = os.environ.pop("MLFLOW_RUN_ID", None)
    client = MlflowClient()
    experiment = experiment_id("agedetect-nightly")  # or that of `mlflow run`, which a retry finds again
    found = client.search_runs([experiment], f"tags.night = '{name}'")
    if found:
        return str(found[0].info.run_id)
    if given:
        client.set_tag(given, "night", name)
        return given
    return str(client.create_run(experiment, tags={"night": name}, run_name=name).info.run_id)


@click.command(context_settings={"show_default": True})
@click.argument("faces", type=click.Path(path_type=Path))
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(exists=True, path_type=Path), required=True, help="TrainConfig, as JSON.")
@click.option("--folder", type=click.Path(path_type=Path), default="nights", help="What a night leaves on the disk.")
@click.option("--night", default=lambda: date.today().isoformat(), show_default="today", help="The name of the night.")
@click.option("--first", is_flag=True, help="Make the first night's model the champion.")
def main(faces: Path, photos: Path, config: Path, folder: Path, night: str, first: bool) -> None:
    """Train on FACES tonight, and estimate the ages in PHOTOS with the best model so far."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    limit_waiting()
    with one_line_errors(), store_errors(f"night {night}"):
        require_server()
        recipe = replace(TrainConfig.from_dict(json.loads(config.read_text())), data_dir=str(faces))
        (folder / night).mkdir(parents=True, exist_ok=True)
        tonight = Night(night_run(night), read_faces(faces), photos, recipe, folder / night, first)
        done = tonight.done()
        for step, work in STEPS.items():
            if step in done:
                log.info("%s: done before: %s", step, done[step])
                continue
            said = work(tonight)
            MlflowClient().set_tag(tonight.run_id, f"step.{step}", said)
            log.info("%s: %s", step, said)
        MlflowClient().set_terminated(tonight.run_id)
    click.echo(f"night {night}: {tonight.done()['promote']}")


if __name__ == "__main__":
    main()
