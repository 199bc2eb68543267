"""A search for the settings of a training run, on validation faces: the test faces are left to the winner."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import Tensor

from agedetect.config import TrainConfig
from agedetect.data.faces import FaceSet
from agedetect.data.splits import Splits, split_faces
from agedetect.errors import ConfigError, RunError
from agedetect.tracking.checkpoints import Epoch, Snapshot
from agedetect.tracking.shared_study import RUN_ID, SharedStudy
from agedetect.tracking.study_database import locked, shown, study_errors, study_url
from agedetect.tracking.trials import (
    TrialRun,
    begin_winner_run,
    end_study_run,
    has_checkpoint,
    is_finished,
    log_study,
    the_run,
    trial_run,
)
from agedetect.training.distributed import keep_freed_memory, open_fabric
from agedetect.training.fit import Fit
from agedetect.training.progress import Progress
from agedetect.training.search_space import SearchSpace, search_space
from agedetect.training.start import resolve
from agedetect.training.train import TrainedRun, new_model, read, require_calibration, train

log = logging.getLogger("agedetect")

_OF_A_MACHINE = ("data_dir", "device", "precision", "workers")  # may differ between the processes of a study
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


def tune(
    faces: FaceSet | str | Path,
    config: TrainConfig | None = None,
    *,
    trials: int,
    study: str = "",
    storage: str = "",
    fixed: Collection[str] = (),
    retrain: bool = True,
) -> Tuned:
    """Search settings in `trials` trainings without their end, then train with the best, as `train` does.

    Processes with the same settings share a study and its `trials`; called again, it goes on. `study` gives it a name,
    `storage` another database than the MLflow store's; settings that are `fixed` are not searched.
    Raises AgedetectError before the first trial where the faces, the weights, the device or the study can't be used.
    """
    config = config or TrainConfig()
    if config.all_folds:
        raise ConfigError(f"protocol={config.protocol}: a search is about one fold: choose it with --fold")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a trial trains in one process: start tune several times, and not with torchrun")
    given = faces if isinstance(faces, FaceSet) else None
    config = dataclasses.replace(config, data_dir=given.source if given else str(faces))
    resolved, started = resolve(config)
    space = search_space(resolved, fixed)
    if not space.distributions:
        raise ConfigError("every setting that is searched was given: omit one, or train")
    url = study_url(storage)
    log.info("%s", started)
    face_set = read(given, config)
    splits = split_faces(face_set.faces, seed=config.split_seed, protocol=config.protocol, fold=max(config.fold, 0))
    require_calibration(splits.validation, config)
    settings = _settings(config, space, splits)
    with study_errors(url):
        shared = SharedStudy(url, study or _name(config, settings), settings, space.defaults)
        log.info("study %s in %s, run %s", shared.name, shown(url), shared.run_id)
        return _Search(shared, config, space, face_set, splits).run(trials, retrain=retrain)


def _settings(config: TrainConfig, space: SearchSpace, splits: Splits) -> dict[str, Any]:
    """What the processes of a study must agree on, by name."""
    kept = {name: value for name, value in config.to_dict().items() if name not in _OF_A_MACHINE}
    searched = {name: f"{found.low:g} to {found.high:g}" for name, found in space.distributions.items()}
    return {**kept, **searched, "split_fingerprint": splits.fingerprint}


def _name(config: TrainConfig, settings: dict[str, Any]) -> str:
    """The same for the same settings: so the same command goes on with its study."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return f"{config.backbone_label.replace('/', '-')}-{config.image_size}px-{digest}"


class _Search:
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
        with trial_run(self.shared.run_id, trial.number, params) as run:
            trial.set_user_attr(RUN_ID, run.id)
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
            if is_finished(winner[RUN_ID]):
                log.info("run %s has trained with the best settings", winner[RUN_ID])
                return None
            if has_checkpoint(winner[RUN_ID]):
                return train(self.face_set, resume=winner[RUN_ID])
            with the_run(winner[RUN_ID]):
                return train(self.face_set, dataclasses.replace(self.config, **best.params))


def _next_epoch(epochs: Iterator[tuple[Epoch, Snapshot]]) -> tuple[Epoch, Snapshot] | None:
    """A trial that diverges is a bad one, and no reason to stop the others."""
    try:
        return next(epochs, None)
    except RunError as error:
        raise optuna.TrialPruned(f"diverged: {error}") from error
