"""The MLflow runs of a study: one parent, each trial a child of it, and the winner that is retrained."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from agedetect.reports.study_figures import Point, history, importance
from agedetect.tracking.checkpoints import Epoch
from agedetect.tracking.runs import experiment_id
from agedetect.tracking.store import FINISHED, one_attempt

_RUN_ID = "MLFLOW_RUN_ID"
_HURRIED_SECONDS = 2  # of a request that holds up Ctrl-C, or others
_STUDY_TAG = "agedetect.study"
_FAILED, _KILLED, _RUNNING = map(RunStatus.to_string, (RunStatus.FAILED, RunStatus.KILLED, RunStatus.RUNNING))


class TrialRun:
    """The MLflow run of one trial."""

    def __init__(self, run_id: str, number: int) -> None:
        self.id, self.number = run_id, number

    def log_params(self, params: Mapping[str, Any]) -> None:
        MlflowClient().log_batch(self.id, params=[Param(name, str(value)) for name, value in params.items()])

    def log_epoch(self, epoch: Epoch) -> None:
        """In one request."""
        values = {f"validation/{name}": value for name, value in epoch.metrics.to_dict().items()}
        values |= {"train/loss": epoch.train_loss, "train/learning_rate": epoch.learning_rate}
        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, value, now, epoch.number) for name, value in values.items()]
        MlflowClient().log_batch(self.id, metrics=metrics)

    def say(self, outcome: str) -> None:
        """Into the run's name, after the trial's number."""
        MlflowClient().set_tag(self.id, "mlflow.runName", f"trial {self.number}: {outcome}")


def begin_study_run(name: str, settings: Mapping[str, Any]) -> str:
    """A study's parent run, that of `mlflow run` or a new one; its id."""
    client = MlflowClient()
    given = os.environ.pop(_RUN_ID, None)
    run = client.get_run(given) if given else client.create_run(experiment_id(), tags=resolve_tags(), run_name=name)
    known = run.data.params
    params = [Param(key, str(value)) for key, value in settings.items() if key not in known]
    client.log_batch(run.info.run_id, params=params, tags=[RunTag(_STUDY_TAG, name)])
    return str(run.info.run_id)


def resume_study_run(run_id: str) -> None:
    """As running; the run that `mlflow run` made for a process that joins a study stays empty."""
    os.environ.pop(_RUN_ID, None)
    MlflowClient().update_run(run_id, _RUNNING)


def end_study_run(run_id: str, *, finished: bool) -> None:
    if finished:
        MlflowClient().set_terminated(run_id, FINISHED)
    else:
        _end(run_id, _KILLED)


@contextmanager
def trial_run(parent: str, number: int) -> Iterator[TrialRun]:
    """A child of the run `parent`. A pruned trial's run is finished, too: it has done what it was for."""
    run = TrialRun(_child(parent, f"trial {number}"), number)
    try:
        yield run
    except optuna.TrialPruned as stop:
        run.say(str(stop))
        MlflowClient().set_terminated(run.id, FINISHED)
        raise
    except BaseException as stop:
        _end(run.id, _KILLED if isinstance(stop, KeyboardInterrupt) else _FAILED)
        raise
    MlflowClient().set_terminated(run.id, FINISHED)


def _end(run_id: str, status: str) -> None:
    """Within seconds or not at all: a store that is away or silent neither holds Ctrl-C up nor hides what was wrong."""
    with one_attempt(_HURRIED_SECONDS), suppress(MlflowException, OSError):
        MlflowClient().set_terminated(run_id, status)


def end_lost_run(run_id: str | None) -> None:
    """Of a trial whose process was killed: `end_lost_runs` ends it where the store is away now."""
    if run_id:
        _end(run_id, _KILLED)


def end_lost_runs(parent: str, lost: Collection[str]) -> None:
    """Those of the runs `lost` that nobody could end, since the store was away."""
    client = MlflowClient()
    experiment = client.get_run(parent).info.experiment_id
    running = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}' and attributes.status = '{_RUNNING}'"
    for run in client.search_runs([experiment], running):
        if run.info.run_id in lost:
            client.set_terminated(run.info.run_id, _KILLED)


def begin_winner_run(parent: str) -> str:
    """An empty run, a child of `parent`, for `the_run` to train in."""
    return _child(parent, None)


@contextmanager
def the_run(run_id: str) -> Iterator[None]:
    """The next run that MLflow starts is this one, as in a project that `mlflow run` starts."""
    os.environ[_RUN_ID] = run_id
    try:
        yield
    finally:
        os.environ.pop(_RUN_ID, None)


def is_finished(run_id: str) -> bool:
    return str(MlflowClient().get_run(run_id).info.status) == FINISHED


def log_study(run_id: str, study: Study, *, n: int) -> None:
    """The table of trials, both figures and the best validation MAE, on `n` faces, to the parent run."""
    client = MlflowClient()
    client.log_text(run_id, study.trials_dataframe().to_csv(index=False), "study/trials.csv")
    points = [point for trial in study.get_trials(deepcopy=False) if (point := _point(trial))]
    _log_figure(run_id, history(points, n=n), "history")
    complete = sum(not point.pruned for point in points)
    if complete > 1:
        _log_figure(run_id, importance(optuna.importance.get_param_importances(study), n=complete), "importance")
    ended = study.best_trial.datetime_complete
    when = int(ended.timestamp() * 1000) if ended else None  # the same for all processes: MLflow keeps one value
    client.log_metric(run_id, "validation/mae", study.best_value, timestamp=when)


def _point(trial: FrozenTrial) -> Point | None:
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return Point(trial.number, trial.value, pruned=False)
    if trial.state is TrialState.PRUNED and trial.last_step is not None:
        return Point(trial.number, trial.intermediate_values[trial.last_step], pruned=True)
    return None


def _log_figure(run_id: str, figure: Figure, name: str) -> None:
    MlflowClient().log_figure(run_id, figure, f"figures/{name}.png", save_kwargs={"facecolor": "white"})


def _child(parent: str, name: str | None) -> str:
    client = MlflowClient()
    experiment = client.get_run(parent).info.experiment_id
    tags = {**resolve_tags(), MLFLOW_PARENT_RUN_ID: parent}
    return str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)
