"""A training run in MLflow: its start and end, its parameters, data, metrics and report."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pandas as pd
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.git_utils import get_git_commit

from agedetect import __version__
from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits, write_splits
from agedetect.errors import RunError
from agedetect.evaluation.result import Evaluation
from agedetect.reports.write import write_evaluation
from agedetect.tracking.checkpoints import Epoch
from agedetect.tracking.reading import CONFIG
from agedetect.tracking.signals import stop_signals
from agedetect.tracking.store import FINISHED

EXPERIMENT = "agedetect"
_EXPERIMENT_IS_CHOSEN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
log = logging.getLogger(__name__)
_MADE_UP_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # what MLflow gives a run without a name: "bold-fox-123"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with the id of the run that it stopped; `resumable` once an epoch of it is finished."""

    def __init__(self, run_id: str, *, resumable: bool) -> None:
        super().__init__(run_id)
        self.run_id, self.resumable = run_id, resumable


@contextmanager
def open_run(config: TrainConfig, resume: str | None = None) -> Iterator[Run]:
    """The run of `resume`, or that of `mlflow run`, or a new one; a child where a parent is open.

    Ends as FINISHED, FAILED, or KILLED by Ctrl-C.
    """
    parent = mlflow.active_run()
    chosen = resume is not None or any(name in os.environ for name in _EXPERIMENT_IS_CHOSEN)
    experiment_id = parent.info.experiment_id if parent else None if chosen else _own_experiment()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # ours is the one that is shown
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    started = mlflow.start_run(
        run_id=resume,
        experiment_id=experiment_id,
        nested=parent is not None,
        log_system_metrics=True,
    )
    run_id = started.info.run_id
    status = RunStatus.to_string(RunStatus.FAILED)
    run = None
    try:
        run = Run(config, is_child=parent is not None, resumed=resume is not None)
        yield run
        status = FINISHED
    except KeyboardInterrupt as stop:
        status = RunStatus.to_string(RunStatus.KILLED)
        of_child = isinstance(stop, Interrupted)
        raise Interrupted(run_id, resumable=of_child or (run is not None and run.resumable)) from stop
    finally:
        with _signals_ignored():
            mlflow.end_run(status)


def _own_experiment() -> str:
    """Its id, found or created; `mlflow.set_experiment` would set it for the whole process and every later store."""
    client = MlflowClient()
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return client.create_experiment(EXPERIMENT)
        except MlflowException:  # another process was faster, or MLflow says why it can't
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    return found.experiment_id


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """`mlflow run` follows one Ctrl-C with a second signal, which would leave the run without its status."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *stop_signals())}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """The active MLflow run."""

    def __init__(self, config: TrainConfig, *, is_child: bool = False, resumed: bool = False) -> None:
        active = mlflow.active_run()
        if active is None:
            raise RunError("no MLflow run is active")
        self.id: str = active.info.run_id
        self.resumable = resumed
        self.config = config
        self._prefix = f"fold {config.fold}, " if is_child else ""
        self._may_be_named = bool(_MADE_UP_NAME.fullmatch(active.info.run_name or ""))
        self.name_by("")
        logged = set(active.data.params)  # `mlflow run` logs the project's parameters itself, as it was given them
        mlflow.log_params({name: value for name, value in config.to_dict().items() if name not in logged})
        mlflow.log_dict(config.to_dict(), CONFIG)

    def name_by(self, result: str) -> None:
        """Name the run by its backbone, size and result, unless somebody has given it a name."""
        if self._may_be_named:
            name = f"{self._prefix}{self.config.backbone_label}, {self.config.image_size} px"
            mlflow.set_tag("mlflow.runName", f"{name}, {result}" if result else name)

    def log_data(self, face_set: FaceSet, splits: Splits) -> None:
        """The three subsets as MLflow datasets, their lists, the fingerprints, and what was skipped and why.

        The list also names the near-duplicates that were omitted.
        """
        checkout = Path(__file__).parents[2]
        commit = get_git_commit(str(checkout)) if (checkout / "MLproject").is_file() else None
        mlflow.set_tags(
            {
                "agedetect.version": __version__,
                **({"mlflow.source.git.commit": commit} if commit else {}),
                "split_fingerprint": splits.fingerprint,
                "test_fingerprint": splits.test_fingerprint,
                "data_licence": self.config.data_licence,
                "faces": len(face_set.faces),
                "skipped_files": len(face_set.skipped),
                "omitted_faces": len(splits.omitted),
            }
        )
        if splits.omitted:
            log.info("%s faces omitted: near-duplicates of test or validation faces", len(splits.omitted))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "splits.csv"
            write_splits(splits, path)
            mlflow.log_artifact(str(path), "data")
            table = pd.read_csv(path)
        for split, rows in table[table["split"] != "omitted"].groupby("split"):
            _log_dataset(str(split), rows.drop(columns="split"), face_set.source, splits.fingerprint)
        skipped = [{"path": str(item.path), "reason": item.reason} for item in face_set.skipped]
        mlflow.log_text(json.dumps(skipped, indent=1), "data/skipped.json")

    def log_epoch(self, epoch: Epoch) -> None:
        values = {f"validation/{name}": value for name, value in epoch.metrics.to_dict().items()}
        values |= {
            "train/loss": epoch.train_loss,
            "validation/loss": epoch.validation_loss,
            "train/learning_rate": epoch.learning_rate,
            "train/images_per_second": epoch.images_per_second,
            "train/phase": {"head": 1, "all": 2}[epoch.part],
        }
        mlflow.log_metrics(values, step=epoch.number)

    def log_figure(self, name: str, figure: Figure) -> None:
        mlflow.log_figure(figure, f"figures/{name}.png", save_kwargs={"facecolor": "white"})

    def log_evaluation(self, result: Evaluation) -> None:
        """The test metrics, and the report: evaluation.html and .json, figures, every prediction."""
        mlflow.log_metrics({f"test/{name}": value for name, value in result.metrics().items()})
        self.name_by(f"test MAE {result.overall.mae.value:.2f}")
        with tempfile.TemporaryDirectory() as folder:
            write_evaluation(result, Path(folder))
            mlflow.log_artifacts(folder, "evaluation")


def _log_dataset(split: str, rows: pd.DataFrame, source: str, fingerprint: str) -> None:
    with warnings.catch_warnings():  # MLflow knows two classes for a local source, and fears for missing integers
        warnings.simplefilter("ignore", UserWarning)
        dataset = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            rows, source=source, targets="age", name=f"{Path(source).name}:{split}", digest=fingerprint
        )
        mlflow.log_input(dataset, context=split)
