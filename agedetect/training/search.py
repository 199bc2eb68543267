"""The trials of one process of a search, and the training of the winner."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import Tensor

from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits
from agedetect.errors import RunError
from agedetect.tracking.checkpoints import Epoch, Snapshot
from agedetect.tracking.resuming import was_begun
from agedetect.tracking.shared_study import RUN_ID, SharedStudy
from agedetect.tracking.study_database import locked
from agedetect.tracking.sync import sent_if_trained
from agedetect.tracking.trials import (
    TrialRun,
    begin_winner_run,
    end_study_run,
    is_finished,
    log_study,
    the_run,
    trial_run,
)
from agedetect.training.distributed import keep_freed_memory, open_fabric
from agedetect.training.fit import Fit
from agedetect.training.progress import Progress
from agedetect.training.search_space import SearchSpace
from agedetect.training.start import resolve
from agedetect.training.train import TrainedRun, new_model, train

log = logging.getLogger("agedetect")

_WINNER = "winner"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a study found: `best` are the settings of trial `number`, with the lowest validation MAE, on `n` faces.

    `trained` is the run that trained with them; None where there is none, or another process is at it.
    """

    study: str
    run_id: str
    trials: int
    pruned: int
    number: int
    best: dict[str, Any]
    validation_mae: float
    n: int
    trained: TrainedRun | None = field(default=None, repr=False)


class Search:
    """The trials of one process, and the end of the study."""

    def __init__(
        self, shared: SharedStudy, config: TrainConfig, space: SearchSpace, face_set: FaceSet, splits: Splits
    ) -> None:
        self.shared, self.config, self.space = shared, config, space
        self.face_set, self.splits = face_set, splits
        keep_freed_memory()
        self.fabric = open_fabric(config.device, config.precision)
        self.features: dict[str, Tensor] = {}

    def run(self, trials: int, *, retrain: bool) -> Tuned:
        finished = False
        try:
            while self.shared.next(trials, self._trial, pruned_from=self.space.pruned_from, seed=self.config.seed):
                pass
            best, n = self.shared.best, len(self.splits.validation)
            self.shared.end_lost_runs()
            with locked(self.shared.url, self.shared.name):
                log_study(self.shared.run_id, self.shared.study, n=n)
            trained = self._retrain(best) if retrain else None
            finished = True
        finally:
            if finished or not self.shared.count(TrialState.RUNNING):
                end_study_run(self.shared.run_id, finished=finished)
        return Tuned(
            study=self.shared.name,
            run_id=self.shared.run_id,
            trials=self.shared.count(),
            pruned=self.shared.count(TrialState.PRUNED),
            number=best.number,
            best=best.params,
            validation_mae=self.shared.study.best_value,
            n=n,
            trained=trained,
        )

    def _trial(self, trial: Trial) -> float:
        params = self.space.suggest(trial)
        config, _ = resolve(dataclasses.replace(self.config, **params))
        text = ", ".join(f"{name}={value:.3g}" for name, value in params.items())
        with trial_run(self.shared.run_id, trial.number) as run:
            trial.set_user_attr(RUN_ID, run.id)  # first: whoever ends a lost trial must know its run
            run.log_params(params)
            log.info("trial %s: %s", trial.number, text)
            try:
                mae = self._train(config, trial, run)
            except optuna.TrialPruned as stop:
                log.info("trial %s: %s", trial.number, stop)
                raise
            run.say(f"validation MAE {mae:.3f}")
        log.info("trial %s: validation MAE %.3f years", trial.number, mae)
        return mae

    def _train(self, config: TrainConfig, trial: Trial, run: TrialRun) -> float:
        """The validation MAE of the epoch that `train` would keep. Raises TrialPruned."""
        model = new_model(config, self.splits, config.weights)
        faces, validation = self.splits.train, self.splits.validation
        epochs = Fit(self.fabric, model, config, faces, validation, Progress(), self.features).epochs()
        errors = []
        while found := _next_epoch(epochs):
            epoch, _ = found
            run.log_epoch(epoch)
            errors.append(epoch.metrics.mae)
            trial.report(epoch.metrics.mae, epoch.number)
            if epoch.number < config.epochs and trial.should_prune():
                raise optuna.TrialPruned(f"pruned after epoch {epoch.number}")
        return min(errors) if config.keeps_best else errors[-1]

    def _retrain(self, best: FrozenTrial) -> TrainedRun | None:
        """By one of the processes; gone on with where that was stopped."""
        study = self.shared.study
        with locked(self.shared.url, f"{self.shared.name}.winner", wait=False) as mine:
            if not mine:
                log.info("another process trains with the best settings")
                return None
            winner = study.user_attrs.get(_WINNER, {})
            if winner.get("trial") != best.number:
                winner = {"trial": best.number, RUN_ID: begin_winner_run(self.shared.run_id)}
                study.set_user_attr(_WINNER, winner)
            if is_finished(winner[RUN_ID]) or sent_if_trained(winner[RUN_ID]):
                log.info("run %s has trained with the best settings", winner[RUN_ID])
                return None
            if was_begun(winner[RUN_ID]):
                return train(self.face_set, resume=winner[RUN_ID])
            with the_run(winner[RUN_ID]):
                return train(self.face_set, dataclasses.replace(self.config, **best.params))


def _next_epoch(epochs: Iterator[tuple[Epoch, Snapshot]]) -> tuple[Epoch, Snapshot] | None:
    """A trial that diverges is a bad one, and no reason to stop the others."""
    try:
        return next(epochs, None)
    except RunError as error:
        raise optuna.TrialPruned(f"diverged: {error}") from error
