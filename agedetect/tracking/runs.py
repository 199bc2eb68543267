"""A training run from its start in MLflow to its end, whichever way it ends."""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, RunStatus, RunTag
from mlflow.entities import Run as TrackedRun
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from agedetect.config import TrainConfig
from agedetect.errors import RunError, explained
from agedetect.tracking.patience import patience
from agedetect.tracking.queue import Entry, Queue
from agedetect.tracking.record import Run
from agedetect.tracking.registry import Registered
from agedetect.tracking.resuming import Resumable, is_trained, kept_facts, require_free
from agedetect.tracking.run_folder import QUEUE, RunFolder
from agedetect.tracking.sender import OWNER_TAG, Sender, TakenError, send
from agedetect.tracking.signals import stop_signals
from agedetect.tracking.store import FINISHED, one_attempt, reason, store_errors, tracking_uri
from agedetect.tracking.system_metrics import HEARTBEAT_TAG, Pulse, heartbeat
from agedetect_runtime.errors import AgedetectError

EXPERIMENT = "agedetect"
_RUNNING, _KILLED, _FAILED = map(RunStatus.to_string, (RunStatus.RUNNING, RunStatus.KILLED, RunStatus.FAILED))
_AT_ONCE = 1.0  # seconds
_QUIET, _HURRY = 1.0, 2.0  # seconds to tell the server that a run was stopped: uninterrupted, and at most after that
_MADE_UP_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # what MLflow gives a run without a name: "bold-fox-123"
log = logging.getLogger("agedetect")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, and `hint`, the command that goes on."""

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


class UnsentError(RunError):
    """A run is trained, and its tracking server doesn't take its result."""


@contextmanager
def open_run(config: TrainConfig, resume: Resumable | None = None, parent: Run | None = None) -> Iterator[Run]:
    """The run of `resume`, or that of `mlflow run`, or a new one; a child of `parent` or of MLflow's active run.

    Ends as FINISHED, FAILED, or KILLED by Ctrl-C. Raises RunError where the server refuses or can't be reached,
    UnsentError where it isn't there at the end, Interrupted on Ctrl-C.
    """
    if resume:
        tracked, folder = resume.tracked, resume.folder
    else:
        tracked = _start(parent.id if parent else None)
        folder = RunFolder.of(tracked.info.run_id)
    with folder.make().locked(), one_attempt():
        if tracked:
            token = secrets.token_hex(8)
            if folder.exists:
                folder.note(claim=token)  # before the server knows it
            _own(tracked, token, is_resumed=resume is not None)
            folder.note(**kept_facts(config, tracked), owner=token, parent=parent.id if parent else None)
        folder.note(ended="")
        queue = Queue(folder.path / QUEUE)
        queue.clean()
        queue.discard("end")  # of a stop that the server didn't hear of
        sender = Sender(folder, queue)
        run = Run(config, folder, sender, is_child=parent is not None, is_named=_is_named(tracked, config))
        pulse = Pulse(run.id, sender, folder.facts()["started_ms"])
        try:
            if tracked:
                run.log_settings(tracked.data.params)
            with explained():
                yield run
        except TakenError:
            raise
        except KeyboardInterrupt as stop:
            _stop(run, sender, _KILLED)
            raise Interrupted(_go_on(folder)) from stop
        except BaseException as error:
            _stop(run, sender, _FAILED)
            if isinstance(error, AgedetectError):
                error.args = (f"{error}; then go on with: {_go_on(folder)}",)
            else:
                log.error("The run is kept: go on with: %s", _go_on(folder))
            raise
        else:
            pulse.stop_measuring()
            _finish(run, sender)
        finally:
            pulse.stop()
            sender.stop()


def _start(parent: str | None) -> TrackedRun:
    client = MlflowClient()
    with store_errors("no run was started"):
        if chosen := os.environ.pop("MLFLOW_RUN_ID", None):  # by `mlflow run`, for one run of this process
            client.update_run(chosen, _RUNNING)
            return client.get_run(chosen)
        active = mlflow.active_run()
        parent = parent or (active.info.run_id if active else None)
        experiment = client.get_run(parent).info.experiment_id if parent else experiment_id()
        tags = resolve_tags({MLFLOW_PARENT_RUN_ID: parent} if parent else None)
        return client.create_run(experiment, tags=tags, run_name=os.environ.get("MLFLOW_RUN_NAME"))


def experiment_id(default: str = EXPERIMENT) -> str:
    """Of the experiment that the environment names, or of `default`, found or created.

    `mlflow.set_experiment` would set it for the whole process and every later store.
    """
    client = MlflowClient()
    if chosen := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return chosen
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", default)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name)
        except MlflowException:  # another process was faster, or MLflow says why it can't
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == LifecycleStage.DELETED:
        raise RunError(
            f"experiment {name}: it was deleted; restore it (mlflow experiments restore --experiment-id "
            f"{found.experiment_id}) or set MLFLOW_EXPERIMENT_NAME to another"
        )
    return found.experiment_id


def _own(run: TrackedRun, token: str, *, is_resumed: bool) -> None:
    """Say who trains it from now on; of two machines that resume it at once, one is refused."""
    client, run_id = MlflowClient(), run.info.run_id
    with store_errors(f"run {run_id}"):
        if is_resumed:
            require_free(client.get_run(run_id))
        tags = [RunTag(OWNER_TAG, token), RunTag(HEARTBEAT_TAG, heartbeat())]
        client.log_batch(run_id, tags=tags)
        if not is_resumed:
            return
        time.sleep(_AT_ONCE)
        if client.get_run(run_id).data.tags.get(OWNER_TAG) != token:
            raise RunError(f"run {run_id}: another machine resumed it at the same moment: it goes on there")
        client.update_run(run_id, _RUNNING)


def _is_named(tracked: TrackedRun | None, config: TrainConfig) -> bool:
    """By somebody, not by MLflow or by us."""
    name = tracked.info.run_name or "" if tracked else ""
    return not (_MADE_UP_NAME.fullmatch(name) or config.backbone_label in name)


def _finish(run: Run, sender: Sender) -> None:
    """Wait for the server to take everything; then the folder isn't needed any more."""
    sender.add("end", {"status": FINISHED, "time": time.time_ns() // 1_000_000})
    try:
        trouble = sender.drain(patience())
    except KeyboardInterrupt as stop:
        raise Interrupted(f"agedetect sync {run.id}") from stop
    if trouble:
        raise unsent(run.folder, trouble)
    if "registered" in run.folder.facts():
        run.registered = Registered(**run.folder.facts()["registered"])
    run.folder.remove()


def _stop(run: Run, sender: Sender, status: str) -> None:
    """Tell the server, if it is there: a few seconds at most, which a second Ctrl-C cuts short."""
    if is_trained(run.folder):  # stopped while it was being sent
        status = FINISHED
    end = {"status": status, "time": time.time_ns() // 1_000_000}
    trouble: Exception | None = None
    try:
        sender.add("end", end)
    except TakenError:
        return
    except (AgedetectError, OSError):  # the disk is full
        with suppress(MlflowException, AgedetectError, OSError):
            send(run.folder, Entry(run.folder.path, "end", end))
    with suppress(KeyboardInterrupt):
        with _signals_ignored():
            trouble = sender.drain(_QUIET, slowest=_QUIET)
        trouble = trouble and sender.drain(_HURRY, slowest=_HURRY)
    if trouble:
        log.warning("%s lacks the run's end: %s; it is sent when the run goes on", tracking_uri(), reason(trouble))


def _go_on(folder: RunFolder) -> str:
    return f"agedetect {'sync' if is_trained(folder) else 'train --resume'} {folder.run_id}"


def unsent(folder: RunFolder, trouble: Exception) -> UnsentError:
    """What to tell of a trained run whose server doesn't take it."""
    entry = Queue(folder.path / QUEUE).first()
    body = entry.body if entry and entry.kind == "result" else {}
    if body.get("uploaded"):
        state = f"the model is safe as models:/{body['model_id']}, and is not registered as {body['name']}"
    else:
        state = f"its results are in {folder.path / QUEUE}"
    return UnsentError(
        f"run {folder.run_id}: it is trained, but {folder.facts()['store']} lacks a part: {reason(trouble)}; "
        f"{state}; send the rest with: agedetect sync {folder.run_id}"
    )


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """`mlflow run` follows one Ctrl-C with a second signal, which would leave the run without its status."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *stop_signals())}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
