"""The runs whose folders are on this machine: what there is to go on with, and sending what their servers lack."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException

from agedetect.config import TrainConfig
from agedetect.errors import ConfigError, RunError, StoreError
from agedetect.tracking.patience import require_server
from agedetect.tracking.queue import Queue
from agedetect.tracking.resuming import is_trained, use_store
from agedetect.tracking.run_folder import QUEUE, RunFolder, kept_runs
from agedetect.tracking.runs import unsent
from agedetect.tracking.sender import Sender, require_ours
from agedetect.tracking.store import FINISHED, one_attempt, reason

_PATIENCE = 30.0  # seconds that an error may last
_KILLED = RunStatus.to_string(RunStatus.KILLED)


@dataclass(frozen=True)
class KeptRun:
    """`state` is "training", "stopped", "to be sent", or "unreadable", of which only run, time and size are known.

    `used` in seconds since 1970, `size` in bytes.
    """

    run_id: str
    state: str
    backbone: str
    image_size: int
    epoch: int
    epochs: int
    used: float
    size: int
    store: str


def list_runs() -> list[KeptRun]:
    """The one that was used last comes first."""
    return [_describe(folder) for folder in kept_runs()]


def sync(run_id: str | None = None) -> Iterator[tuple[str, str | RunError]]:
    """Send what the queue of a run holds, or those of all runs that aren't being trained; (id, what became of it).

    The folder of a trained run is then removed; a stopped run's is kept, to go on from. Raises RunError where there is
    no such run; a server that doesn't take one run is no reason to keep the others.
    """
    folders = [RunFolder.of(run_id)] if run_id else [folder for folder in kept_runs() if not folder.is_in_use]
    if run_id and not folders[0].exists:
        raise RunError(f"run {run_id}: nothing of it is kept in {folders[0].path.parent}: it was sent, or is another's")
    for folder in folders:
        try:
            yield folder.run_id, _sync(folder)
        except RunError as error:
            yield folder.run_id, error


def sent_if_trained(run_id: str) -> bool:
    """Whether a run was trained here before; what its server lacked is sent now. Raises RunError as `sync` gives it."""
    folder = RunFolder.of(run_id)
    if not folder.exists or not is_trained(folder):
        return False
    _sync(folder)
    return True


def remove(run_id: str) -> int:
    """The states of a run and what wasn't sent; how many bytes that frees."""
    folder = RunFolder.of(run_id)
    if not folder.exists:
        raise RunError(f"run {run_id}: nothing of it is kept in {folder.path.parent}")
    with folder.locked():
        size = folder.size()
        folder.remove()
    return size


def _sync(folder: RunFolder) -> str:
    with folder.locked(), one_attempt():
        if not folder.exists:
            folder.remove()
            raise RunError(f"run {folder.run_id}: it was sent meanwhile")
        use_store(folder.facts()["store"])
        queue, trained = Queue(folder.path / QUEUE), is_trained(folder)
        queue.clean()
        try:
            require_server()
            require_ours(folder)
        except (StoreError, MlflowException, OSError) as error:
            raise _lacking(folder, error, trained) from error
        if not folder.facts().get("ended") and not queue.holds("end"):  # killed: the server thinks that it goes on
            queue.add("end", {"status": FINISHED if trained else _KILLED, "time": time.time_ns() // 1_000_000})
        sender = Sender(folder, queue)
        try:
            trouble = sender.drain(_PATIENCE)
        finally:
            sender.stop()
        if trouble:
            raise _lacking(folder, trouble, trained)
        if not trained:
            return f"sent; go on with: agedetect train --resume {folder.run_id}"
        registered = folder.facts().get("registered")
        folder.remove()
        return f"sent; model {registered['uri']}" if registered else "sent"


def _lacking(folder: RunFolder, trouble: Exception, trained: bool) -> RunError:
    if trained:
        return unsent(folder, trouble)
    return RunError(f"run {folder.run_id}: {folder.facts()['store']} lacks a part: {reason(trouble)}")


def _describe(folder: RunFolder) -> KeptRun:
    try:
        facts = folder.facts()
        config = TrainConfig.from_dict(facts["config"])
        state = "training" if folder.is_in_use else "to be sent" if is_trained(folder) else "stopped"
    except (RunError, ConfigError, TypeError, KeyError):  # of another version, or another user's
        facts, config, state = {}, TrainConfig(), "unreadable"
    return KeptRun(
        run_id=folder.run_id,
        state=state,
        backbone=config.backbone_label,
        image_size=config.image_size,
        epoch=facts.get("epoch", 0),
        epochs=config.epochs,
        used=folder.last_used,
        size=folder.size(),
        store=facts.get("store", ""),
    )
