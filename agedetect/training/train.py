"""A training run from top to bottom: read, split, fit, calibrate, evaluate, register."""

from __future__ import annotations

import dataclasses
import logging
import os
import statistics
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from agedetect.config import TrainConfig
from agedetect.data.faces import Face, FaceSet, read_faces, require_few_skipped
from agedetect.data.protocols import PROTOCOLS
from agedetect.data.splits import Splits, split_faces
from agedetect.errors import ConfigError, DataError, RunError, explained
from agedetect.evaluation.evaluate import evaluate_run
from agedetect.evaluation.leakage import training_duplicates
from agedetect.evaluation.predictions import Predictions
from agedetect.models.conformal import faces_to_calibrate, fit_conformal
from agedetect.models.inference import CalibratedModel
from agedetect.models.model import AgeModel, build_model
from agedetect.tracking.checkpoints import Checkpoint, Epoch
from agedetect.tracking.folds import Fold, log_folds, read_folds
from agedetect.tracking.initialise import ready_store
from agedetect.tracking.jobs import stopped_run_of
from agedetect.tracking.patience import await_server, patience, require_server
from agedetect.tracking.record import Run
from agedetect.tracking.registry import Registered
from agedetect.tracking.resuming import Resumable, find_resumable
from agedetect.tracking.run_folder import LAST, ready_runs_folder
from agedetect.tracking.runs import open_run
from agedetect.training.curves import curves
from agedetect.training.distributed import close, keep_freed_memory, open_fabric, to_numpy, torchrun_job
from agedetect.training.fit import Fit
from agedetect.training.progress import Progress
from agedetect.training.registration import report_and_register
from agedetect.training.start import resolve
from agedetect_runtime.spec import MIN_AGE

log = logging.getLogger("agedetect")


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """The result of a finished run; empty on every process but the first.

    `metrics` are those of the test faces (mae, rmse, ... in years; of a protocol, the means over its `folds`).
    """

    run_id: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    logged: Registered | None = None
    history: tuple[Epoch, ...] = field(default=(), repr=False)
    folds: tuple[dict[str, float], ...] = field(default=(), repr=False)

    @property
    def model(self) -> Registered:
        """Raises RunError for a protocol, which measures a recipe and registers nothing."""
        if self.logged is None:
            raise RunError("this run gives no model: train without a protocol of several folds")
        return self.logged


def train(
    faces: FaceSet | str | Path | None = None, config: TrainConfig | None = None, *, resume: str | None = None
) -> TrainedRun:
    """Train, log to MLflow and register; a protocol of several folds is trained fold by fold.

    `faces` may be omitted where `config.data_dir` names them. With `resume`, the id of a run that was stopped, its
    own settings hold and only what is missing is trained. Raises AgedetectError before the run starts where the data,
    the weights, the device or the run to resume can't be used; Interrupted on Ctrl-C.
    """
    if resume and config:
        raise ConfigError("resume takes the settings of its run: omit the config")
    if resume == LAST and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("several processes resume a run by its id: see agedetect runs")
    is_first = int(os.environ.get("RANK", "0")) == 0
    resumable = find_resumable(resume, is_first=is_first) if resume else None
    config = resumable.config if resumable else config or TrainConfig()
    if isinstance(faces, FaceSet):
        config = dataclasses.replace(config, data_dir=faces.source)
    elif faces is not None:
        config, faces = dataclasses.replace(config, data_dir=str(faces)), None
    config, started = resolve(config)
    if not resume and is_first:
        log.info("%s", started)
        patience()  # a wrong value is told now
        ready_runs_folder()
        require_server()
        ready_store()
    return _train_folds(faces, config, resumable) if config.all_folds else _train_one(faces, config, resumable)


def _train_folds(faces: FaceSet | None, config: TrainConfig, resume: Resumable | None) -> TrainedRun:
    """Every fold as a child of one run; the models are logged but not registered."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"protocol={config.protocol}: several processes share one fold: choose it with --fold")
    begun = read_folds(resume.run_id) if resume else {}
    with open_run(config, resume) as parent:
        metrics = []
        for fold in range(PROTOCOLS[config.protocol].folds):
            found = begun.get(fold, Fold())
            if not found.metrics:
                await_server()
                fold_config = dataclasses.replace(config, fold=fold, registered_model_name="none")
                resumed = find_resumable(found.run_id, fold_config) if found.run_id else None
                found = Fold(_train_one(faces, fold_config, resumed, parent).metrics)
            metrics.append(found.metrics)
        log_folds(parent, metrics)
        means = {name: statistics.fmean(fold[name] for fold in metrics) for name in metrics[0]}
        parent.mark_trained()
        parent.name_by(f"test MAE {means['mae']:.2f} over {len(metrics)} folds")
    return TrainedRun(run_id=parent.id, metrics=means, folds=tuple(metrics))


@explained()
def _train_one(
    faces: FaceSet | None, config: TrainConfig, resume: Resumable | None, parent: Run | None = None
) -> TrainedRun:
    keep_freed_memory()
    fabric = open_fabric(config.device, config.precision)
    first = fabric.is_global_zero
    face_set = cast(FaceSet, fabric.broadcast(read(faces, config) if first else None))
    splits = split_faces(face_set.faces, seed=config.split_seed, protocol=config.protocol, fold=max(config.fold, 0))
    require_calibration(splits.validation, config)
    job = torchrun_job()
    if first and job and not resume and (begun := stopped_run_of(job)):
        resume = find_resumable(begun, config)
    checkpoint = fabric.broadcast(resume.checkpoint(splits.fingerprint) if resume and first else None)
    model = new_model(config, splits, "none" if checkpoint else config.weights)
    progress = Progress() if first else Progress(False)
    fit = Fit(fabric, model, config, splits.train, splits.validation, progress)
    trained = TrainedRun()
    with open_run(config, resume, parent) if first else nullcontext() as run:
        if run:
            log.info("run %s on %s, %s faces", run.id, fabric.device, len(face_set.faces))
            run.log_data(face_set, splits)
            if job:
                run.mark_job(job)
        history = _fit(fit, run, checkpoint)
        kept = run.kept_weights(history) if run else {}
        model.load_state_dict(fabric.broadcast(kept))
        calibrated = calibrate(fit, splits.validation, config.coverage)
        # the one time that the test faces are looked at
        predict = partial(_predict, fit, calibrated)
        predictions = predict(splits.test)
        duplicates = training_duplicates(splits)
        on_duplicates = predict(duplicates) if duplicates else None
        if run:
            median = statistics.median(face.age for face in splits.train)
            result = evaluate_run(
                predictions,
                splits,
                face_set,
                model=config.backbone_label if config.registered_model_name == "none" else config.registered_model_name,
                nominal_coverage=config.coverage,
                training_median=median,
                duplicates=on_duplicates,
            )
            report_and_register(run, calibrated, face_set, splits, result)
            trained = TrainedRun(run_id=run.id, metrics=result.metrics(), history=tuple(history))
    close(fabric)
    if run:
        return dataclasses.replace(trained, logged=run.registered)
    return trained


def read(faces: FaceSet | None, config: TrainConfig) -> FaceSet:
    face_set = faces or read_faces(Path(config.data_dir))
    for note in face_set.notes:
        log.info("%s", note)
    require_few_skipped(face_set, config.max_skipped)
    return face_set


def require_calibration(validation: tuple[Face, ...], config: TrainConfig) -> None:
    needed = faces_to_calibrate(config.coverage, config.head)
    if len(validation) < needed:
        raise DataError(
            f"{len(validation)} validation faces are too few for intervals of coverage {config.coverage:g}, which "
            f"take {needed}: add faces or lower --coverage"
        )


def new_model(config: TrainConfig, splits: Splits, weights: str) -> AgeModel:
    torch.manual_seed(config.seed)
    mean_age = float(np.mean([face.age for face in splits.train]))
    return build_model(
        config.model_name,
        weights,
        head=config.head,
        dropout=config.dropout,
        mean_age=mean_age,
        flip_tta=config.flip_tta,
        image_size=config.image_size,
    )


def _fit(fit: Fit, run: Run | None, checkpoint: Checkpoint | None) -> list[Epoch]:
    history = list(checkpoint.history) if checkpoint else []
    if run:
        run.log_history(history)  # a kill may have come between a state and its point in the history
    for epoch, snapshot in fit.epochs(checkpoint.snapshot if checkpoint else None):
        history.append(epoch)
        if run:
            run.log_epoch(history, snapshot)
            run.log_figure("curves", curves(history))
            log.info("%s", epoch)
    return history


def calibrate(fit: Fit, validation: tuple[Face, ...], coverage: float) -> CalibratedModel:
    """On faces moved and coloured as in training: the intervals are for pictures that nobody cut as UTKFace's were."""
    outputs = fit.predict(validation, "calibration", view=0)  # one view each, so that the scores stay exchangeable
    true = torch.tensor([face.age for face in validation], dtype=torch.float32, device=outputs.device)
    age, probabilities = fit.model.age(outputs), fit.model.probabilities(outputs)
    return CalibratedModel(fit.model, fit_conformal(age, probabilities, true, coverage).to(outputs.device))


def _predict(fit: Fit, model: CalibratedModel, faces: tuple[Face, ...]) -> Predictions:
    columns = map(to_numpy, model.read(fit.predict(faces, "test")))
    return Predictions.of(faces, *columns, min_age=MIN_AGE)
