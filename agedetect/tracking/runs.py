"""Everything MLflow on the training side: runs, metrics, figures, checkpoints, the registered model."""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec
from mlflow.utils.git_utils import get_git_commit
from numpy.typing import NDArray

from agedetect import __version__
from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits, write_splits
from agedetect.errors import RunError
from agedetect.evaluation.result import Evaluation
from agedetect.models.inference import AgeProgram
from agedetect.reports.write import write_evaluation
from agedetect.tracking.signals import stop_signals
from agedetect.training.phases import Checkpoint, Epoch, Snapshot
from agedetect_runtime.spec import METADATA_KEY, ModelSpec

EXPERIMENT = "agedetect"
ALIAS = "candidate"
_EXPERIMENT_IS_CHOSEN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
_CONFIG, _BEST = "config.json", "checkpoint/best.pt"
_FINISHED = RunStatus.to_string(RunStatus.FINISHED)
_STATES = ("checkpoint/even.pt", "checkpoint/odd.pt")


@dataclass(frozen=True)
class Registered:
    """Where the logged model is: `uri` always, name and version where it was registered."""

    uri: str
    name: str | None = None
    version: str | None = None


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
    if resume is None and parent is None and not any(name in os.environ for name in _EXPERIMENT_IS_CHOSEN):
        mlflow.set_experiment(EXPERIMENT)
    _hide_transfer_bars()
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    name = f"fold {config.fold}" if parent else None
    started = mlflow.start_run(
        run_id=resume,
        experiment_id=parent.info.experiment_id if parent else None,
        run_name=name,
        nested=parent is not None,
        log_system_metrics=True,
    )
    run_id = started.info.run_id
    status = RunStatus.to_string(RunStatus.FAILED)
    run = None
    try:
        run = Run(config, resumed=resume is not None)
        yield run
        status = _FINISHED
    except KeyboardInterrupt as stop:
        status = RunStatus.to_string(RunStatus.KILLED)
        of_child = isinstance(stop, Interrupted)
        raise Interrupted(run_id, resumable=of_child or (run is not None and run.resumable)) from stop
    finally:
        with _deaf_to_signals():
            mlflow.end_run(status)


@contextmanager
def _deaf_to_signals() -> Iterator[None]:
    """`mlflow run` answers one Ctrl-C with a second signal, which would leave the run without its status."""
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

    def __init__(self, config: TrainConfig, *, resumed: bool = False) -> None:
        active = mlflow.active_run()
        if active is None:
            raise RunError("no MLflow run is active")
        self.id: str = active.info.run_id
        self.resumable = resumed
        self.config = config
        logged = set(active.data.params)  # `mlflow run` logs the project's parameters itself, as it was given them
        mlflow.log_params({name: value for name, value in config.to_dict().items() if name not in logged})
        mlflow.log_dict(config.to_dict(), _CONFIG)

    def log_data(self, face_set: FaceSet, splits: Splits) -> None:
        """The three sides as MLflow datasets, their lists, the fingerprints, and what was skipped and why."""
        checkout = Path(__file__).parent.parent
        commit = get_git_commit(str(checkout)) if (checkout / "MLproject").is_file() else None
        mlflow.set_tags(
            {
                "agedetect.version": __version__,
                **({"mlflow.source.git.commit": commit} if commit else {}),
                "split_fingerprint": splits.fingerprint,
                "test_fingerprint": splits.test_fingerprint,
                "data_licence": self.config.data_licence,
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "splits.csv"
            write_splits(splits, path)
            mlflow.log_artifact(str(path), "data")
            table = pd.read_csv(path)
        for side, rows in table.groupby("side"):
            _log_dataset(str(side), rows.drop(columns="side"), face_set.source, splits.fingerprint)
        skipped = [{"path": str(item.path), "reason": item.reason} for item in face_set.skipped]
        mlflow.log_text(json.dumps(skipped, indent=1), "data/skipped.json")
        mlflow.log_metrics({"data/faces": len(face_set.faces), "data/skipped": len(skipped)})

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
        mlflow.log_figure(figure, f"figures/{name}.png")

    def save_checkpoint(self, history: Sequence[Epoch], snapshot: Snapshot) -> None:
        """The weights if they are the best so far, then the state to resume from.

        States of even and odd epochs take turns, so that one is whole wherever the process is killed.
        """
        best = min(history, key=lambda epoch: epoch.metrics.mae)
        with tempfile.TemporaryDirectory() as folder:
            if best.number == snapshot.epoch:
                _log_file(Path(folder), _BEST, lambda path: torch.save(snapshot.judged, path))
            _log_file(Path(folder), _STATES[snapshot.epoch % 2], Checkpoint(list(history), snapshot).save)
        self.resumable = True

    def best_weights(self) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(_download(self.id, _BEST), "cpu", weights_only=True)
        return state

    def log_evaluation(self, result: Evaluation) -> None:
        """The test metrics, and the report: evaluation.html and .json, figures, every prediction."""
        mlflow.log_metrics({f"test/{name}": value for name, value in result.metrics().items()})
        with tempfile.TemporaryDirectory() as folder:
            write_evaluation(result, Path(folder))
            mlflow.log_artifacts(folder, "evaluation")

    def log_folds(self, figures: Sequence[dict[str, float]]) -> None:
        """Mean and standard deviation (of a sample) over the folds, as `test/mae` and `test/mae_std`.

        Of the figures that all folds have, without the ends of their intervals, which aren't the mean's.
        """
        table = pd.DataFrame(figures).dropna(axis="columns")
        table = table.loc[:, ~table.columns.str.endswith(("_low", "_high"))]
        mlflow.log_metrics({f"test/{name}": float(value) for name, value in table.mean().items()})
        mlflow.log_metrics({f"test/{name}_std": float(value) for name, value in table.std().items()})
        mlflow.log_text(table.to_csv(index_label="fold"), "folds.csv")

    def log_model(self, program: AgeProgram, spec: ModelSpec, example: NDArray[np.uint8]) -> Registered:
        """Logged as an exported graph (pt2): it loads without our code and without unpickling, at any batch size."""
        size = spec.image_size
        columns = sum(spec.bins if name == "probabilities" else 1 for name in spec.outputs)
        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, size, size, 3))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, columns))]),
        )
        with warnings.catch_warnings():  # torch says that weights which share storage are kept once: they do
            warnings.filterwarnings("ignore", "No complete tensor found")
            info = mlflow.pytorch.log_model(
                program.eval(),
                name="model",
                serialization_format="pt2",
                input_example=example,
                signature=signature,
                metadata={METADATA_KEY: spec.to_json()},
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
            )
        mlflow.log_text(spec.card, "model_card.md")
        if self.config.registered_model_name == "none":
            return Registered(info.model_uri)
        return self._register(info.model_uri, spec)

    def _register(self, uri: str, spec: ModelSpec) -> Registered:
        name = self.config.registered_model_name
        tags = {
            "test_mae": f"{spec.provenance['test']['mae']:.4f}",
            "backbone": spec.backbone,
            "data_fingerprint": spec.provenance["split_fingerprint"],
            "data_licence": self.config.data_licence,
        }
        version = mlflow.register_model(uri, name, tags=tags)
        MlflowClient().set_registered_model_alias(name, ALIAS, version.version)
        return Registered(f"models:/{name}@{ALIAS}", name, str(version.version))


def read_config(run_id: str) -> TrainConfig:
    """The settings of a run. Raises RunError where the tracking server doesn't know it, or it isn't one of ours."""
    try:
        return TrainConfig.from_dict(json.loads(_download(run_id, _CONFIG).read_text()))
    except (MlflowException, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"run {run_id}: no training run of that id is to be had: {reason}") from error


@dataclass(frozen=True)
class Fold:
    """What there is of a protocol's fold: the test figures of a finished run, or the id of one to go on with."""

    figures: dict[str, float] = field(default_factory=dict)
    resumable: str | None = None


def read_folds(run_id: str) -> dict[int, Fold]:
    """The folds that the stopped run of a protocol has begun. Raises RunError where the run is finished."""
    client = MlflowClient()
    parent = client.get_run(run_id)
    if parent.info.status == _FINISHED:
        raise RunError(f"run {run_id}: it is finished: start a new one")
    children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    folds: dict[int, Fold] = {}
    for child in sorted(children, key=lambda child: (child.info.status == _FINISHED, child.info.start_time)):
        test = {
            name.removeprefix("test/"): value for name, value in child.data.metrics.items() if name.startswith("test/")
        }
        begun = any(item.path in _STATES for item in client.list_artifacts(child.info.run_id, "checkpoint"))
        found = Fold(figures=test) if child.info.status == _FINISHED else Fold(resumable=child.info.run_id)
        if begun:
            folds[int(child.data.params["fold"])] = found
    return folds


def read_checkpoint(run_id: str, splits: Splits) -> Checkpoint:
    """The state after the last epoch that was finished. Raises RunError where there was none, or on other data."""
    run = MlflowClient().get_run(run_id)
    if run.info.status == _FINISHED:
        raise RunError(f"run {run_id}: it is finished, and its test faces are looked at once: start a new one")
    fingerprint = run.data.tags.get("split_fingerprint", splits.fingerprint)  # none: stopped before any epoch
    if fingerprint != splits.fingerprint:
        raise RunError(
            f"run {run_id}: it was trained on the split {fingerprint}, the faces now give {splits.fingerprint}: "
            "restore them as they were, or start anew"
        )
    found = []
    for name in _STATES:
        try:
            found.append(Checkpoint.load(_download(run_id, name)))
        except (MlflowException, OSError, RuntimeError, EOFError, UnpicklingError):
            continue  # never written, or cut off while it was: the other one is whole
    if not found:
        raise RunError(f"run {run_id}: no epoch of it was finished, so there is nothing to resume: start it anew")
    return max(found, key=lambda checkpoint: checkpoint.snapshot.epoch)


def _log_dataset(side: str, rows: pd.DataFrame, source: str, fingerprint: str) -> None:
    with warnings.catch_warnings():  # MLflow knows two classes for a local source, and fears for missing integers
        warnings.simplefilter("ignore", UserWarning)
        dataset = mlflow.data.from_pandas(  # type: ignore[attr-defined]
            rows, source=source, targets="age", name=f"{Path(source).name}:{side}", digest=fingerprint
        )
        mlflow.log_input(dataset, context=side)


def _log_file(folder: Path, artifact: str, write: Callable[[Path], object]) -> None:
    path = folder / Path(artifact).name
    write(path)
    mlflow.log_artifact(str(path), str(Path(artifact).parent))


def _hide_transfer_bars() -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # ours is the one that is shown


def _download(run_id: str, artifact: str) -> Path:
    _hide_transfer_bars()
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=artifact))
