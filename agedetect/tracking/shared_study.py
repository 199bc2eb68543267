"""A study that several processes share: no trial is lost with its process, and none is one too many."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import NullPool, create_engine, text

from agedetect.errors import ConfigError, RunError
from agedetect.tracking.study_database import is_postgresql, locked
from agedetect.tracking.trials import begin_study_run, end_lost_run, end_lost_runs, resume_study_run

log = logging.getLogger("agedetect")
SCHEMA = "optuna"  # in PostgreSQL: MLflow and Optuna each keep the revision of their tables in `alembic_version`
HEARTBEAT_SECONDS, GRACE_SECONDS = 5, 30
POLL_SECONDS = 2
RUN_ID = "run_id"  # the MLflow run of a study or trial
_SETTINGS = "settings"
_MOST_RETRIES = 3  # of a trial whose process was killed: it may be the trial that kills it
_WAIT_SECONDS = 60  # for SQLite's own lock
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class SharedStudy:
    """One process's part of a study; its MLflow run is `run_id`."""

    def __init__(self, url: str, name: str, settings: Mapping[str, Any], first: Mapping[str, Any]) -> None:
        """Begun with the trial `first`, or gone on with. Raises ConfigError where it has other settings."""
        self.url, self.name = url, name
        with locked(url, SCHEMA):  # two first studies would make the tables twice
            self.storage = _storage(url)
            self.study = optuna.create_study(
                study_name=name, storage=self.storage, direction="minimize", load_if_exists=True
            )
        with locked(url, name):
            known = self.study.user_attrs
            if RUN_ID not in known:
                self.study.set_user_attr(_SETTINGS, settings)
                run_id = begin_study_run(name, settings)
                self.study.enqueue_trial(dict(first), skip_if_exists=True)  # a process may have been killed just here
                self.study.set_user_attr(RUN_ID, run_id)
            elif different := _differences(known[_SETTINGS], settings):
                raise ConfigError(f"study {name}: it has {different}: give the same options, or another --study")
            else:
                resume_study_run(known[RUN_ID])
        self.run_id = str(self.study.user_attrs[RUN_ID])
        self.end_lost_runs()

    def next(self, trials: int, objective: Callable[[Trial], float], *, pruned_from: int, seed: int) -> bool:
        """One trial, or a wait for those of other processes, which may be lost; False when all are done.

        The lock is held until the trial is begun, so that together no more than `trials` are.
        """
        with ExitStack() as claim:
            claim.enter_context(locked(self.url, self.name))
            self._retry_lost()
            running = self.count(TrialState.RUNNING)
            if self.count(*_ENDED) + running < trials:
                # it depends on what was done before alone: a study that was stopped goes on as it would have
                self.study.sampler = TPESampler(seed=seed * 1_000_003 + len(self.study.trials))
                self.study.pruner = MedianPruner(n_warmup_steps=pruned_from)
                self._optimize(claim, objective)
                return True
        if running:
            time.sleep(POLL_SECONDS)
        return bool(running)

    def _optimize(self, claim: ExitStack, objective: Callable[[Trial], float]) -> None:
        try:
            self.study.optimize(lambda trial: self._begun(trial, claim, objective), n_trials=1)
        except ValueError as error:
            if not str(error).startswith("Cannot tell a FAIL trial"):
                raise
            log.warning("study %s: a trial was taken for lost: this machine slept, or lost its database", self.name)

    def _begun(self, trial: Trial, claim: ExitStack, objective: Callable[[Trial], float]) -> float:
        try:
            self.storage.record_heartbeat(trial._trial_id)  # Optuna's thread may be late: see `_retry_lost`
            claim.close()
            value = objective(trial)
        except optuna.TrialPruned:
            raise
        except (Exception, KeyboardInterrupt):  # what Optuna takes for a failure; any other end stops the heartbeat
            self._enqueue_again(trial.number)
            raise
        if self._frozen(trial.number).state is TrialState.FAIL:
            raise RunError(f"trial {trial.number} is another process's now")  # for Optuna, which expects a reason
        return value

    def _enqueue_again(self, number: int) -> None:
        """The settings that it had, or was to have; unless another process took it for lost, and has done so."""
        trial = self._frozen(number)
        if trial.state is TrialState.RUNNING:
            self.study.enqueue_trial({**trial.system_attrs.get("fixed_params", {}), **trial.params})

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def count(self, *states: TrialState) -> int:
        return len(self.study.get_trials(deepcopy=False, states=states or _ENDED))

    @property
    def best(self) -> FrozenTrial:
        """Raises RunError where no trial reached its last epoch."""
        try:
            return self.study.best_trial
        except ValueError as error:
            raise RunError(f"study {self.name}: every trial was pruned or diverged: search lower rates") from error

    def _retry_lost(self) -> None:
        """Trials whose process was killed: their heartbeat is old, or they have none.

        A process releases the lock after its trial's first heartbeat: who holds it and sees a trial without one, sees
        a trial whose process was killed.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        with self.storage.engine.connect() as connection:
            beating = set(connection.execute(text("SELECT trial_id FROM trial_heartbeats")).scalars())
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            if trial._trial_id not in beating:
                _retry(self.study, trial)
                self.study.tell(trial.number, state=TrialState.FAIL)

    def end_lost_runs(self) -> None:
        """The MLflow runs of failed trials that could not be ended when they failed."""
        failed = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if lost := {trial.user_attrs[RUN_ID] for trial in failed if RUN_ID in trial.user_attrs}:
            end_lost_runs(self.run_id, lost)


def _storage(url: str) -> RDBStorage:
    """The tables of studies, made where there are none."""
    options: dict[str, Any] = {"connect_args": {"timeout": _WAIT_SECONDS}}
    if is_postgresql(url):
        with create_engine(url, poolclass=NullPool).begin() as connection:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        options = {"connect_args": {"options": f"-csearch_path={SCHEMA}"}, "pool_pre_ping": True}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats
        return RDBStorage(
            url,
            options,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=_retry,
        )


def _differences(known: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={known.get(name)} instead of {settings.get(name)}"
        for name in sorted({*known, *settings})
        if known.get(name) != settings.get(name)
    )


def _retry(study: Study, trial: FrozenTrial) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(max_retry=_MOST_RETRIES)(study, trial)
    end_lost_run(trial.user_attrs.get(RUN_ID))
