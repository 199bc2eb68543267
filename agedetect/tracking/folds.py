"""The folds of a protocol: runs under a parent, which gets their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlflow
import pandas as pd
from mlflow.tracking import MlflowClient

from agedetect.errors import RunError
from agedetect.tracking.checkpoints import STATES
from agedetect.tracking.store import FINISHED


@dataclass(frozen=True)
class Fold:
    """What there is of a fold: the test metrics of a finished run, or the id of one to resume."""

    metrics: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None


def read_folds(run_id: str) -> dict[int, Fold]:
    """The folds that the stopped run of a protocol has begun. Raises RunError where the run is finished."""
    client = MlflowClient()
    parent = client.get_run(run_id)
    if parent.info.status == FINISHED:
        raise RunError(f"run {run_id}: it is finished: start a new one")
    children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    folds: dict[int, Fold] = {}
    for child in sorted(children, key=lambda child: (child.info.status == FINISHED, child.info.start_time)):
        test = {
            name.removeprefix("test/"): value for name, value in child.data.metrics.items() if name.startswith("test/")
        }
        is_finished = child.info.status == FINISHED
        if any(item.path in STATES for item in client.list_artifacts(child.info.run_id, "checkpoint")):
            folds[int(child.data.params["fold"])] = Fold(test if is_finished else {}, child.info.run_id)
    return folds


def log_folds(metrics: Sequence[dict[str, float]]) -> None:
    """To the active run: mean and standard deviation (of a sample) over the folds, as `test/mae` and `test/mae_std`.

    Of the metrics that all folds have.
    """
    table = pd.DataFrame(metrics).dropna(axis="columns")
    mlflow.log_metrics({f"test/{name}": float(value) for name, value in table.mean().items()})
    mlflow.log_metrics({f"test/{name}_std": float(value) for name, value in table.std().items()})
    mlflow.log_text(table.to_csv(index_label="fold"), "folds.csv")
