"""What a finished run leaves in MLflow: its report, and its model with the spec and the card."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agedetect import __version__
from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits
from agedetect.evaluation.result import Evaluation
from agedetect.models.inference import CalibratedModel
from agedetect.reports.model_card import card
from agedetect.tracking.record import Run
from agedetect.tracking.registry import save_model
from agedetect_runtime.spec import MAX_AGE, MIN_AGE, ModelSpec

log = logging.getLogger("agedetect")


def report_and_register(
    run: Run, model: CalibratedModel, face_set: FaceSet, splits: Splits, result: Evaluation
) -> None:
    """Logs the test metrics and the report, and the model with its spec and card."""
    config = run.config
    spec = describe(model, run, splits, result)
    settings = {**config.to_dict(), "model_name": config.backbone_label}
    text = card(spec, result, settings, splits, face_set, licence=config.data_licence)
    spec = dataclasses.replace(spec, card=text)
    run.log_result(result, text, partial(save_model, model.cpu().eval(), spec, _example(spec.image_size)))
    log.info("test MAE %.3f years (n=%d)", result.overall.mae.value, result.n)


def describe(model: CalibratedModel, run: Run, splits: Splits, result: Evaluation) -> ModelSpec:
    """What the model's file will say about itself."""
    config = run.config
    metrics = result.metrics()
    test = {name: metrics[name] for name in ("mae", "mse", "rmse", "r2", "within_5", "within_10") if name in metrics}
    return ModelSpec(
        image_size=config.image_size,
        resampling=model.model.resampling,
        backbone=model.model.architecture,
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
            "median_training_age": result.median.age,
            "test": {"images": result.n, **test},
            "data_licence": config.data_licence,
        },
    )


def _example(size: int) -> NDArray[np.uint8]:
    """A plain pattern, uint8 (1, S, S, 3): real faces would travel with every copy of the model."""
    ramp = np.linspace(0, 255, size).astype(np.uint8)
    grey = np.add.outer(ramp // 2, ramp // 2)
    return np.stack([grey, grey[::-1], grey.T], axis=2)[None]
