"""Which run to go on with, with which settings, and from which state: this machine's, or its tracking server's."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import time
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from agedetect.config import TrainConfig
from agedetect.errors import ConfigError, RunError, StoreError
from agedetect.tracking.checkpoints import CHECKPOINTS, Checkpoint, last_checkpoint
from agedetect.tracking.patience import require_server
from agedetect.tracking.queue import Queue
from agedetect.tracking.reading import read_config
from agedetect.tracking.run_folder import QUEUE, RunFolder, find_kept
from agedetect.tracking.sender import OWNER_TAG, is_ours
from agedetect.tracking.store import FINISHED, download, reason, store_address, tracking_uri
from agedetect.tracking.system_metrics import HEARTBEAT_TAG, SILENT_AFTER
from agedetect_runtime import ModelError

EPOCH_TAG = "agedetect.epoch"
FINGERPRINT_TAG = "split_fingerprint"
log = logging.getLogger("agedetect")


@dataclass(frozen=True)
class Resumable:
    """`tracked` is what the server knows of the run, None while it is away."""

    folder: RunFolder
    config: TrainConfig
    tracked: Run | None

    @property
    def run_id(self) -> str:
        return self.folder.run_id

    def checkpoint(self, fingerprint: str) -> Checkpoint | None:
        """The last state, None where no epoch was finished. Raises RunError where the split is another one."""
        tags = self.tracked.data.tags if self.tracked else {}
        before = self.folder.facts().get("split_fingerprint") or tags.get(FINGERPRINT_TAG, fingerprint)
        if before != fingerprint:
            raise RunError(
                f"run {self.run_id}: it was trained on the split {before}, the faces now give {fingerprint}: "
                "restore them as they were, or start anew, as for a run of a version that kept near-duplicates"
            )
        states, logged = self.folder.path / CHECKPOINTS, int(tags.get(EPOCH_TAG, 0))
        found = last_checkpoint(states)
        behind = found is None or logged > found.snapshot.epoch
        if self.tracked and logged and (behind or not is_ours(self.folder, tags.get(OWNER_TAG))):
            self._fetch(self.tracked)
            found = last_checkpoint(states)
            if found is None:
                raise RunError(f"run {self.run_id}: none of its states on the server is whole: start anew")
        return found

    def _fetch(self, tracked: Run) -> None:
        """The server's states, of a run that another machine trained, and which epochs are in its history."""
        fetched, states = self.folder.make().path / "fetched", self.folder.path / CHECKPOINTS
        with self.folder.locked():
            shutil.rmtree(fetched, ignore_errors=True)
            try:
                download(f"runs:/{self.run_id}/{CHECKPOINTS}", fetched)
                history = MlflowClient().get_metric_history(self.run_id, "train/loss")
            except (ModelError, MlflowException) as error:
                if not self.folder.exists:
                    self.folder.remove()
                raise RunError(f"run {self.run_id}: its state can't be fetched: {reason(error)}") from error
            shutil.rmtree(states, ignore_errors=True)
            (fetched / CHECKPOINTS).rename(states)
            logged = sorted({point.step for point in history})
            Queue(self.folder.path / QUEUE).discard()  # of this machine's part, which another one did again
            self.folder.note(
                **kept_facts(self.config, tracked), logged_epochs=logged, queued_epoch=max(logged, default=0)
            )


def kept_facts(config: TrainConfig, run: Run) -> dict[str, Any]:
    """What a run's folder knows from the start."""
    return {
        "store": store_address(),
        "experiment_id": run.info.experiment_id,
        "started_ms": run.info.start_time,
        "config": config.to_dict(),
    }


def find_resumable(name: str, config: TrainConfig | None = None, *, is_first: bool = True) -> Resumable:
    """By its id, or `last`. Raises RunError where there is nothing to go on with, or somebody does already.

    `config` is its settings where they are known, as a fold's are. Of several processes that train together only the
    first one asks whether it may.
    """
    folder = find_kept(name)
    facts = folder.facts()
    run_id = folder.run_id
    if facts:
        use_store(facts["store"])
        if is_first and folder.is_in_use:
            raise RunError(f"run {run_id}: it is being trained on this machine; wait, or stop that process")
        if is_first and is_trained(folder):
            raise RunError(f"run {run_id}: it is trained; send what its server lacks with: agedetect sync {run_id}")
    tracked = _tracked(run_id, may_be_away=bool(facts))
    if tracked and is_first:
        require_free(tracked)
        if not facts and "test/mae" in tracked.data.metrics and EPOCH_TAG in tracked.data.tags:  # no protocol, that is
            raise RunError(
                f"run {run_id}: it is trained; the machine that trained it has the rest: agedetect sync there"
            )
    return Resumable(folder, config or _config(folder, run_id, facts), tracked)


def was_begun(run_id: str) -> bool:
    """Whether there is something to go on with, here or on the server."""
    return RunFolder.of(run_id).exists or EPOCH_TAG in MlflowClient().get_run(run_id).data.tags


def is_trained(folder: RunFolder) -> bool:
    """Whether all that is left is to send the result."""
    return bool(folder.facts().get("trained")) or Queue(folder.path / QUEUE).holds("result")


def use_store(address: str) -> None:
    """The tracking store that a run belongs to, in whatever folder this is."""
    if store_address() != address:
        log.info("the run's tracking store: %s", address)
        mlflow.set_tracking_uri(address)


def require_free(run: Run) -> None:
    """Raises RunError for a run that is deleted, finished, or being trained on another machine."""
    run_id, status = run.info.run_id, run.info.status
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        raise RunError(f"run {run_id}: it was deleted; mlflow runs restore --run-id {run_id} undoes that")
    if status == FINISHED:
        raise RunError(f"run {run_id}: it is finished, and its test faces are evaluated once: start a new one")
    beat = json.loads(run.data.tags.get(HEARTBEAT_TAG, "{}"))
    silent = time.time() - beat.get("time", 0)
    is_here = beat.get("host") == socket.gethostname() and RunFolder.of(run_id).exists  # then the lock tells
    if status == "RUNNING" and silent < SILENT_AFTER and not is_here:
        raise RunError(
            f"run {run_id}: {beat['host']} was training it {max(0, silent):.0f} seconds ago; stop it there, or "
            f"wait {SILENT_AFTER:.0f} seconds if it was killed"
        )


def _config(folder: RunFolder, run_id: str, facts: dict[str, Any]) -> TrainConfig:
    if not facts:
        return read_config(run_id)
    try:
        return TrainConfig.from_dict(facts["config"])
    except (ConfigError, TypeError) as error:
        raise RunError(f"run {run_id}: this version can't train with its settings: {error}; start anew") from error


def _tracked(run_id: str, *, may_be_away: bool) -> Run | None:
    try:
        require_server()
        return MlflowClient().get_run(run_id)
    except (StoreError, MlflowException) as error:
        away = isinstance(error, StoreError) or error.get_http_status_code() >= 500
        if may_be_away and away:
            log.warning("%s is away; going on from this machine's state: %s", tracking_uri(), reason(error))
            return None
        if isinstance(error, StoreError):
            raise
        raise RunError(f"run {run_id}: no training run with this id was found: {reason(error)}") from error
