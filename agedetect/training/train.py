"""A training run from top to bottom: read, split, fit, calibrate, judge, register."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from agedetect import __version__
from agedetect.config import TrainConfig
from agedetect.data.faces import Face, FaceSet, read_faces, require_few_skipped
from agedetect.data.protocols import PROTOCOLS
from agedetect.data.splits import Splits, split_faces
from agedetect.errors import ConfigError, DataError
from agedetect.evaluation.evaluate import evaluate_run
from agedetect.evaluation.leakage import training_duplicates
from agedetect.evaluation.metrics import Metrics, measure
from agedetect.evaluation.predictions import Predictions
from agedetect.models.conformal import Answers, faces_to_calibrate, fit_interval
from agedetect.models.inference import AgeProgram
from agedetect.models.model import AgeModel, build_model
from agedetect.reports import plots
from agedetect.reports.model_card import card
from agedetect.synthetic.faces import draw_face
from agedetect.tracking import runs as tracking
from agedetect.tracking.runs import Registered, Run
from agedetect.training.distributed import close, keep_freed_memory, open_fabric, to_numpy
from agedetect.training.fit import Fit
from agedetect.training.phases import Checkpoint, Epoch
from agedetect.training.progress import Progress
from agedetect_runtime.images import load_face
from agedetect_runtime.spec import MAX_AGE, MIN_AGE, ModelSpec

log = logging.getLogger("agedetect")


@dataclass(frozen=True)
class Trained:
    """What a finished run gives. `run_id` and `model` are None on a process that only helped the first one.

    `figures` are those of the test faces, as the run has them; that process knows none.
    """

    history: list[Epoch]
    test: Metrics
    run_id: str | None
    model: Registered | None
    figures: dict[str, float]


def train(config: TrainConfig, *, resume: str | None = None) -> Trained:
    """Trains, logs to MLflow and registers; with `resume`, goes on after the last finished epoch of that run.

    Raises AgedetectError before the run starts where the data, the weights, the device or the run to resume are
    not to be had; tracking.Interrupted on Ctrl-C.
    """
    keep_freed_memory()
    fabric = open_fabric(config.device, config.precision)
    first = fabric.is_global_zero
    face_set = cast(FaceSet, fabric.broadcast(_read(config) if first else None))
    splits = split_faces(face_set.faces, seed=config.split_seed, protocol=config.protocol, fold=max(config.fold, 0))
    _require_calibration(splits.validation, config)
    checkpoint = tracking.read_checkpoint(resume, splits) if resume else None
    model = _new_model(config, splits, "none" if checkpoint else config.weights)
    fit = Fit(fabric, model, config, splits.train, splits.validation, Progress() if first else Progress(False))
    with tracking.open_run(config, resume) if first else nullcontext() as run:
        if run:
            log.info("run %s on %s, %s faces", run.id, fabric.device, len(face_set.faces))
            run.log_data(face_set, splits)
        history = _fit(fit, run, checkpoint)
        model.load_state_dict(fabric.broadcast(run.best_weights() if run else {}))
        program = _calibrate(fit, splits.validation, config.coverage)
        # the one time that the test faces are looked at
        answer = partial(_predict, fit, program)
        predictions = answer(splits.test)
        duplicates = training_duplicates(splits)
        on_copies = answer(duplicates) if duplicates else None
        registered, figures = _report(run, program, face_set, splits, predictions, on_copies) if run else (None, {})
    close(fabric)
    test = measure(predictions.true, predictions.age)
    return Trained(history, test, run.id if run else None, registered, figures)


def train_folds(config: TrainConfig, *, resume: str | None = None) -> list[dict[str, float]]:
    """Every fold of the config's protocol as a child of one run, which gets their mean and standard deviation.

    The test figures of each fold. A protocol measures a recipe, so the models of its folds are logged but not
    registered. With `resume`, the id of a stopped parent, only what is missing is trained. Raises as `train` does.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"protocol={config.protocol}: several processes share one fold: give it with --fold")
    begun = tracking.read_folds(resume) if resume else {}
    with tracking.open_run(config, resume) as parent:
        figures = []
        for fold in range(PROTOCOLS[config.protocol].folds):
            child = begun.get(fold, tracking.Fold())
            if not child.figures:
                fold_config = dataclasses.replace(config, fold=fold, registered_model_name="none")
                child = tracking.Fold(figures=train(fold_config, resume=child.resumable).figures)
            figures.append(child.figures)
        parent.log_folds(figures)
    return figures


def _read(config: TrainConfig) -> FaceSet:
    face_set = read_faces(Path(config.data_dir))
    require_few_skipped(face_set, config.max_skipped)
    return face_set


def _require_calibration(validation: tuple[Face, ...], config: TrainConfig) -> None:
    needed = faces_to_calibrate(config.coverage, config.head)
    if len(validation) < needed:
        raise DataError(
            f"{len(validation)} validation faces are too few for intervals of coverage {config.coverage:g}, which "
            f"take {needed}: add faces or lower --coverage"
        )


def _new_model(config: TrainConfig, splits: Splits, weights: str) -> AgeModel:
    torch.manual_seed(config.seed)
    mean_age = float(np.mean([face.age for face in splits.train]))
    return build_model(
        config.model_name,
        weights,
        head=config.head,
        dropout=config.dropout,
        mean_age=mean_age,
        flip_tta=config.flip_tta,
    )


def _fit(fit: Fit, run: Run | None, checkpoint: Checkpoint | None) -> list[Epoch]:
    history = list(checkpoint.history) if checkpoint else []
    for epoch, snapshot in fit.epochs(checkpoint.snapshot if checkpoint else None):
        history.append(epoch)
        if run:
            run.log_epoch(epoch)
            run.log_figure("curves", plots.curves(history))
            run.save_checkpoint(history, snapshot)
            log.info("%s", epoch)
    return history


def _calibrate(fit: Fit, validation: tuple[Face, ...], level: float) -> AgeProgram:
    outputs = fit.predict(validation, "calibration")
    true = torch.tensor([face.age for face in validation], dtype=torch.float32, device=outputs.device)
    answers = Answers(fit.model.age(outputs), fit.model.probabilities(outputs))
    return AgeProgram(fit.model, fit_interval(answers, true, level).to(outputs.device))


def _predict(fit: Fit, program: AgeProgram, faces: tuple[Face, ...]) -> Predictions:
    answers = to_numpy(program.answers(fit.predict(faces, "test")))
    age, low, high = answers[:, :3].T
    chances = answers[:, 3:] if answers.shape[1] > 3 else None
    return Predictions.of(faces, age, low, high, chances, min_age=MIN_AGE)


def _report(
    run: Run,
    program: AgeProgram,
    face_set: FaceSet,
    splits: Splits,
    predictions: Predictions,
    duplicates: Predictions | None,
) -> tuple[Registered, dict[str, float]]:
    """Logs the test metrics, figures and report, and the model with its spec and card."""
    config = run.config
    name = config.model_name if config.registered_model_name == "none" else config.registered_model_name
    result = evaluate_run(predictions, splits, face_set, model=name, level=config.coverage, duplicates=duplicates)
    run.log_evaluation(result)
    run.log_figure("residuals", plots.residuals(predictions.true, predictions.age))
    run.log_figure("worst_errors", plots.worst_errors(splits.test, predictions.age))
    spec = describe(program, run, splits, measure(predictions.true, predictions.age))
    told = card(spec, result, config.to_dict(), splits, face_set, licence=config.data_licence)
    spec = dataclasses.replace(spec, card=told)
    registered = run.log_model(program.cpu(), spec, _example(spec))
    log.info("test MAE %.3f years (n=%d); model %s", result.overall.mae.value, result.n, registered.uri)
    return registered, result.metrics()


def describe(program: AgeProgram, run: Run, splits: Splits, test: Metrics) -> ModelSpec:
    """What the model's file will say about itself."""
    config = run.config
    return ModelSpec(
        image_size=config.image_size,
        resampling=program.model.resampling,
        backbone=config.model_name,
        min_age=MIN_AGE,
        max_age=MAX_AGE,
        coverage=config.coverage,
        head=config.head,
        provenance={
            "agedetect": __version__,
            "run_id": run.id,
            "split": {"protocol": config.protocol, "seed": config.split_seed, "fold": max(config.fold, 0)},
            "split_fingerprint": splits.fingerprint,
            "test_fingerprint": splits.test_fingerprint,
            "median_training_age": float(np.median([face.age for face in splits.train])),
            "test": {"images": len(splits.test), **_finite(test.to_dict())},
            "data_licence": config.data_licence,
        },
    )


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Without R2 where all test faces have one age: JSON knows no NaN."""
    return {name: figure for name, figure in figures.items() if math.isfinite(figure)}


def _example(spec: ModelSpec) -> NDArray[np.uint8]:
    """Two drawn faces, uint8 (2, S, S, 3): two, since a batch of one would be traced as always one."""
    drawn = [draw_face(age, 1, 0, np.random.default_rng(age)) for age in (8, 60)]
    return np.stack([load_face(face, spec.image_size, spec.resampling) for face in drawn])
