"""What a training run records, by way of its queue: parameters, data, epochs and states, its report and model."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from matplotlib.figure import Figure
from mlflow.utils.git_utils import get_git_commit

from agedetect import __version__
from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits, write_splits
from agedetect.evaluation.result import Evaluation
from agedetect.models.registered import CARD
from agedetect.reports.write import write_evaluation
from agedetect.tracking.checkpoints import BEST, CHECKPOINTS, Epoch, Snapshot, kept_weights, save_checkpoint
from agedetect.tracking.jobs import JOB_TAG
from agedetect.tracking.reading import CONFIG
from agedetect.tracking.registry import MODEL_NAME, Registered
from agedetect.tracking.resuming import EPOCH_TAG, FINGERPRINT_TAG
from agedetect.tracking.run_folder import RunFolder
from agedetect.tracking.sender import Point, Sender

log = logging.getLogger("agedetect")


class Run:
    """An open run; see `open_run`. `config` is its settings, `folder` where its states are."""

    def __init__(
        self, config: TrainConfig, folder: RunFolder, sender: Sender, *, is_child: bool = False, is_named: bool = False
    ) -> None:
        self.id = folder.run_id
        self.config, self.folder = config, folder
        self._sender = sender
        self._prefix = f"fold {config.fold}, " if is_child else ""
        self._is_named = is_named
        self.registered: Registered | None = None  # once it has ended

    def log_settings(self, logged: Mapping[str, str]) -> None:
        """Name, parameters and config.json. `mlflow run` has `logged` the project's parameters as it was given them."""
        values = self.config.to_dict()
        params = {name: str(value) for name, value in values.items() if name not in logged}
        self._sender.add("batch", {"params": params, "tags": self._name("")})
        self.log_text(CONFIG, json.dumps(values, indent=2))

    def name_by(self, result: str) -> None:
        """Name the run by its backbone, size and result, unless somebody has given it a name."""
        if tags := self._name(result):
            self._sender.add("batch", {"tags": tags})

    def log_data(self, face_set: FaceSet, splits: Splits) -> None:
        """The three subsets as MLflow datasets, their lists, the fingerprints, and what was skipped and why.

        The list also names the near-duplicates that were omitted. Once: a run that is resumed has the same data.
        """
        if splits.omitted:
            log.info("%s faces omitted: near-duplicates of test or validation faces", len(splits.omitted))
        if "split_fingerprint" in self.folder.facts():
            return
        checkout = Path(__file__).parents[2]
        commit = get_git_commit(str(checkout)) if (checkout / "MLproject").is_file() else None
        tags = {
            "agedetect.version": __version__,
            **({"mlflow.source.git.commit": commit} if commit else {}),
            FINGERPRINT_TAG: splits.fingerprint,
            "test_fingerprint": splits.test_fingerprint,
            "data_licence": self.config.data_licence,
            "faces": str(len(face_set.faces)),
            "skipped_files": str(len(face_set.skipped)),
            "omitted_faces": str(len(splits.omitted)),
        }
        self._sender.add("batch", {"tags": tags})
        skipped = [{"path": str(item.path), "reason": item.reason} for item in face_set.skipped]
        datasets = {}

        def write(folder: Path) -> None:
            (folder / "data").mkdir()
            write_splits(splits, folder / "data" / "splits.csv")
            (folder / "data" / "skipped.json").write_text(json.dumps(skipped, indent=1))
            table = pd.read_csv(folder / "data" / "splits.csv")
            for split, rows in table[table["split"] != "omitted"].groupby("split"):
                datasets[str(split)] = _dataset(str(split), rows, face_set.source, splits.fingerprint)

        self._sender.add("artifacts", {}, write)
        self._sender.add("datasets", {"datasets": datasets})
        self.folder.note(split_fingerprint=splits.fingerprint)

    def mark_job(self, job: str) -> None:
        """That torchrun began it in this job."""
        self.folder.note(job=job)
        self._sender.add("batch", {"tags": {JOB_TAG: job}})

    def log_epoch(self, history: list[Epoch], snapshot: Snapshot) -> None:
        """The state first, on this machine: only what is there to go on from is in the history."""
        written = save_checkpoint(self.folder.path / CHECKPOINTS, history, snapshot, keep_best=self.config.keeps_best)
        self.folder.note(epoch=snapshot.epoch)
        self.log_history(history)
        for file in written:  # each of the best weights: a state that waits may name them
            self._sender.add(
                "artifacts", {}, _linked(CHECKPOINTS, file), replaces="" if file.name == BEST else file.name
            )
        self._sender.add("batch", {"tags": {EPOCH_TAG: str(snapshot.epoch)}}, replaces=EPOCH_TAG)

    def log_history(self, history: list[Epoch]) -> None:
        """The epochs that aren't in the queue or sent; the same points again would change nothing in MLflow."""
        facts = self.folder.facts()
        for epoch in history:
            if epoch.number > facts.get("queued_epoch", 0) and epoch.number not in facts.get("logged_epochs", ()):
                self._sender.add("batch", {"metrics": _points(epoch)})
                self.folder.note(queued_epoch=epoch.number)

    def log_figure(self, name: str, figure: Figure) -> None:
        def write(folder: Path) -> None:
            (folder / "figures").mkdir()
            figure.savefig(folder / "figures" / f"{name}.png", facecolor="white")

        self._sender.add("artifacts", {}, write, replaces=name)

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Once: after a kill they are the same points again."""
        now = self.folder.facts().get("metrics_ms") or time.time_ns() // 1_000_000
        self.folder.note(metrics_ms=now)
        self._sender.add("batch", {"metrics": [(name, value, now, 0) for name, value in values.items()]})

    def mark_trained(self) -> None:
        """Of a run without a model: all that is left is to send."""
        self.folder.note(trained=True)

    def log_text(self, path: str, text: str) -> None:
        def write(folder: Path) -> None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")

        self._sender.add("artifacts", {}, write)

    def log_result(self, result: Evaluation, card: str, save_model: Callable[[Path], None]) -> None:
        """The report, the model, the test metrics and the name to register it under, as one: all of it or nothing.

        `save_model` writes an MLflow model into the new folder that it is given.
        """
        now = time.time_ns() // 1_000_000
        name = self.config.registered_model_name
        body = {
            "name": "" if name == "none" else name,
            "experiment_id": self.folder.facts()["experiment_id"],
            "metrics": [(f"test/{name}", value, now, 0) for name, value in result.metrics().items()],
        }

        def write(folder: Path) -> None:
            write_evaluation(result, folder / "artifacts" / "evaluation")
            (folder / "artifacts" / CARD).write_text(card, encoding="utf-8")
            save_model(folder / MODEL_NAME)

        self._sender.add("result", body, write)
        self.name_by(f"test MAE {result.overall.mae.value:.2f}")

    def kept_weights(self, history: list[Epoch]) -> dict[str, Any]:
        return kept_weights(self.folder.path / CHECKPOINTS, history, keep_best=self.config.keeps_best)

    def _name(self, result: str) -> dict[str, str]:
        name = f"{self._prefix}{self.config.backbone_label}, {self.config.image_size} px"
        return {} if self._is_named else {"mlflow.runName": f"{name}, {result}" if result else name}


def _points(epoch: Epoch) -> list[Point]:
    values = {f"validation/{name}": value for name, value in epoch.metrics.to_dict().items()}
    values |= {
        "train/loss": epoch.train_loss,
        "validation/loss": epoch.validation_loss,
        "train/learning_rate": epoch.learning_rate,
        "train/images_per_second": epoch.images_per_second,
        "train/phase": {"head": 1, "all": 2}[epoch.part],
    }
    return [(name, value, epoch.time_ms, epoch.number) for name, value in values.items()]


def _linked(folder: str, file: Path) -> Callable[[Path], None]:
    """The file as it is now, whatever is renamed over it later; a copy where the disk knows no hard links."""

    def write(files: Path) -> None:
        (files / folder).mkdir()
        try:
            os.link(file, files / folder / file.name)
        except OSError:
            shutil.copyfile(file, files / folder / file.name)

    return write


def _dataset(split: str, rows: pd.DataFrame, source: str, fingerprint: str) -> dict[str, str]:
    with warnings.catch_warnings():  # MLflow knows two classes for a local source, and fears for missing integers
        warnings.simplefilter("ignore", UserWarning)
        dataset: dict[str, str] = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            rows.drop(columns="split"),
            source=source,
            targets="age",
            name=f"{Path(source).name}:{split}",
            digest=fingerprint,
        ).to_dict()
    return dataset
