"""Sends a run's queue to its tracking server, beside the training and as long as the server takes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from agedetect.errors import RunError
from agedetect.tracking.queue import Entry, Queue
from agedetect.tracking.registry import publish
from agedetect.tracking.run_folder import RunFolder
from agedetect.tracking.store import reason, tracking_uri, upload_files

_LONGEST_PAUSE = 15.0
SLOWEST_REQUEST = 600.0  # a large model on a slow line
_AGAIN = 1.0  # a refusal may be of an earlier attempt
_PASSES = (408, 429)  # of the 4xx: the server is busy
log = logging.getLogger("agedetect")


OWNER_TAG = "agedetect.owner"


class TakenError(RunError):
    """Another machine has gone on with the run: what is kept here is of the past."""


def is_ours(folder: RunFolder, owner: str | None) -> bool:
    """Whether the server's `owner` of the run is the process that last had the folder, or began to resume it."""
    facts = folder.facts()
    return owner is None or "owner" not in facts or owner in (facts["owner"], facts.get("claim"))


def require_ours(folder: RunFolder) -> None:
    """Raises TakenError, or what the server says."""
    if not is_ours(folder, MlflowClient().get_run(folder.run_id).data.tags.get(OWNER_TAG)):
        raise TakenError(
            f"run {folder.run_id}: another machine went on with it; be rid of what is kept here with: agedetect runs "
            f"--remove {folder.run_id}"
        )


Point = tuple[str, float, int, int]  # a metric's name, value, time in ms and step


def send(folder: RunFolder, entry: Entry) -> None:
    """To the tracking store in use. An entry that was sent before changes nothing there."""
    _KINDS[entry.kind](folder, entry)


def _send_batch(folder: RunFolder, entry: Entry) -> None:
    MlflowClient().log_batch(
        folder.run_id,
        metrics=[Metric(*point) for point in entry.body.get("metrics", [])],
        params=[Param(*param) for param in entry.body.get("params", {}).items()],
        tags=[RunTag(*tag) for tag in entry.body.get("tags", {}).items()],
    )


def _send_artifacts(folder: RunFolder, entry: Entry) -> None:
    upload_files(entry.files, partial(MlflowClient().log_artifact, folder.run_id))


def _send_datasets(folder: RunFolder, entry: Entry) -> None:
    inputs = [
        DatasetInput(Dataset(**dataset), [InputTag(MLFLOW_DATASET_CONTEXT, split)])
        for split, dataset in entry.body["datasets"].items()
    ]
    MlflowClient().log_inputs(folder.run_id, inputs)


def _send_result(folder: RunFolder, entry: Entry) -> None:
    """The report, the model with its test metrics, and its registration; the folder's facts then say where it is."""
    upload_files(entry.files / "artifacts", partial(MlflowClient().log_artifact, folder.run_id))
    registered = publish(entry, folder.run_id)
    folder.note(trained=True, registered=vars(registered))


def _send_end(folder: RunFolder, entry: Entry) -> None:
    MlflowClient().set_terminated(folder.run_id, entry.body["status"], entry.body["time"])
    folder.note(ended=entry.body["status"])


_KINDS: dict[str, Callable[[RunFolder, Entry], None]] = {
    "batch": _send_batch,
    "artifacts": _send_artifacts,
    "datasets": _send_datasets,
    "result": _send_result,
    "end": _send_end,
}


class Sender:
    """A thread that empties the queue; it tries again where the server is away or refuses."""

    def __init__(self, folder: RunFolder, queue: Queue) -> None:
        self._folder, self._queue = folder, queue
        self._wake, self._idle = threading.Event(), threading.Event()
        self._stopped = False
        self._trouble: Exception | None = None
        self._taken: TakenError | None = None
        self._progress = time.monotonic()
        threading.Thread(target=self._work, daemon=True, name="agedetect-sender").start()

    def add(
        self, kind: str, body: dict[str, Any], files: Callable[[Path], object] | None = None, replaces: str = ""
    ) -> None:
        """See Queue.add. Raises TakenError."""
        if self._taken:
            raise self._taken
        self._queue.add(kind, body, files, replaces)
        self._wake.set()

    def drain(self, patience: float, *, slowest: float = SLOWEST_REQUEST) -> Exception | None:
        """Wait until everything is sent.

        Returns what prevents it: an error that lasts for `patience` seconds or that no waiting mends, or a request
        without an answer for `slowest` seconds. Raises TakenError.
        """
        self._progress = time.monotonic()
        self._wake.set()
        while not (self._queue.is_empty and self._idle.is_set()):  # idle: the last entry's files are removed, too
            if self._taken:
                raise self._taken
            waited, trouble = time.monotonic() - self._progress, self._trouble
            if trouble and (waited > patience or (waited > _AGAIN and not is_passing(trouble))):
                return trouble
            if waited > slowest:
                return trouble or TimeoutError(f"no answer for {waited:.0f} seconds")
            time.sleep(0.02)
        return None

    def stop(self) -> None:
        """An entry that is being sent may still arrive; it stays in the queue."""
        self._stopped = True
        self._wake.set()

    def _work(self) -> None:
        failures = 0
        while not self._stopped:
            self._wake.clear()
            self._idle.clear()
            try:
                entry = self._queue.first()
                if entry is None:
                    self._idle.set()
                    self._wake.wait()
                    continue
                if self._trouble:  # as long as the server was away, another machine could take the run
                    require_ours(self._folder)
                send(self._folder, entry)
                self._queue.remove(entry)
            except TakenError as error:
                self._taken = error
                return
            except Exception as error:  # whatever it is, training goes on; `drain` gives it to the caller
                failures += 1
                self._tell(error)
                self._wake.wait(min(2.0 ** (failures - 1), _LONGEST_PAUSE))
                continue
            if self._trouble:
                log.info("%s answers again", tracking_uri())
            failures, self._trouble, self._progress = 0, None, time.monotonic()

    def _tell(self, error: Exception) -> None:
        if self._trouble is None:
            log.warning(
                "%s takes nothing now: %s; what is to be logged is kept in %s",
                tracking_uri(),
                reason(error),
                self._folder.path,
            )
        self._trouble = error


def is_passing(error: Exception) -> bool:
    """Whether waiting may help: the server is away or busy, and doesn't refuse."""
    if "readonly database" in str(error):  # 503, as a locked one
        return False
    status = getattr(getattr(error, "response", None), "status_code", None)  # of requests' errors, for artifacts
    if status is None and isinstance(error, MlflowException):
        status = error.get_http_status_code()
    return status is None or status >= 500 or status in _PASSES
