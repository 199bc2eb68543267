"""The folds of a protocol: runs under a parent, which gets their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from mlflow.tracking import MlflowClient

from agedetect.tracking.record import Run
from agedetect.tracking.store import FINISHED, store_errors


@dataclass(frozen=True)
class Fold:
    """What there is of a fold: the test metrics of a finished run, or the id of one to resume."""

    metrics: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None


def read_folds(run_id: str) -> dict[int, Fold]:
    """The folds that the stopped run of a protocol has begun."""
    client = MlflowClient()
    with store_errors(f"run {run_id}"):
        parent = client.get_run(run_id)
        children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    folds: dict[int, Fold] = {}
    for child in sorted(children, key=lambda child: (child.info.status == FINISHED, child.info.start_time)):
        test = {
            name.removeprefix("test/"): value for name, value in child.data.metrics.items() if name.startswith("test/")
        }
        if "fold" in child.data.params:
            is_finished = child.info.status == FINISHED
            folds[int(child.data.params["fold"])] = Fold(test if is_finished else {}, child.info.run_id)
    return folds


def log_folds(run: Run, metrics: Sequence[dict[str, float]]) -> None:
    """Mean and standard deviation (of a sample) over the folds, as `test/mae` and `test/mae_std`.

    Of the metrics that all folds have.
    """
    table = pd.DataFrame(metrics).dropna(axis="columns")
    means = {f"test/{name}": float(value) for name, value in table.mean().items()}
    run.log_metrics({**means, **{f"test/{name}_std": float(value) for name, value in table.std().items()}})
    run.log_text("folds.csv", table.to_csv(index_label="fold"))
