"""Which stopped run may be gone on with, by whom, and from where."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from agedetect import TrainConfig
from agedetect.errors import RunError
from agedetect.evaluation.metrics import Metrics
from agedetect.tracking.checkpoints import Epoch, Snapshot
from agedetect.tracking.resuming import Resumable, find_resumable
from agedetect.tracking.run_folder import RunFolder, kept_runs
from agedetect.tracking.runs import Interrupted, open_run
from agedetect.tracking.sender import OWNER_TAG, TakenError
from agedetect.tracking.sync import list_runs, remove, sync
from agedetect.tracking.system_metrics import HEARTBEAT_TAG
from export_store import tracking

CONFIG = TrainConfig(model_name="mobilenet_v2", image_size=32, epochs=5, registered_model_name="none")


@pytest.fixture(autouse=True)
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    monkeypatch.setenv("AGEDETECT_RUNS", str(tmp_path / "runs"))
    with tracking(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        client = MlflowClient()
        client.create_experiment("agedetect", artifact_location=(tmp_path / "artifacts").as_uri())
        yield client


def epoch(number: int) -> Epoch:
    metrics = Metrics(mae=5.0 / number, mse=1.0, rmse=1.0, r2=0.0, within_5=0.5, within_10=0.9)
    return Epoch(number, "all", 1.0, 1.0, metrics, 1e-3, 100.0)


def train_until(last: int, found: Resumable | None = None) -> None:
    """A training that Ctrl-C stops after the epoch `last`."""
    state = found.checkpoint("any") if found else None
    history = list(state.history) if state else []
    with open_run(CONFIG, found) as run:
        for number in range(len(history) + 1, last + 1):
            history.append(epoch(number))
            run.log_epoch(history, Snapshot(number, {"w": torch.tensor([float(number)])}, {}, {}, {}))
        raise KeyboardInterrupt


def stopped(epochs: int) -> str:
    """A run that Ctrl-C stopped after so many epochs; its id."""
    with pytest.raises(Interrupted) as stop:
        train_until(epochs)
    return stop.value.hint.removeprefix("agedetect train --resume ")


def test_a_run_without_a_state_begins_again_under_its_id(client: MlflowClient) -> None:
    run_id = stopped(0)
    assert client.get_run(run_id).info.status == "KILLED"
    found = find_resumable("last")
    assert (found.run_id, found.config) == (run_id, CONFIG)
    assert found.checkpoint("any") is None
    with open_run(found.config, found) as run:
        assert client.get_run(run_id).info.status == "RUNNING"
    assert run.id == run_id
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_resumed_run_has_each_point_once(client: MlflowClient) -> None:
    run_id = stopped(2)
    found = find_resumable(run_id)
    state = found.checkpoint("any")
    assert state is not None
    with open_run(found.config, found) as run:
        run.log_history(state.history)
        run.log_epoch([*state.history, epoch(3)], Snapshot(3, {}, {}, {}, {}))
    history = client.get_metric_history(run_id, "validation/mae")
    assert sorted((point.step, point.value) for point in history) == [(1, 5.0), (2, 2.5), (3, pytest.approx(5 / 3))]


def test_a_run_goes_on_from_the_servers_state_on_another_machine(client: MlflowClient, tmp_path: Path) -> None:
    run_id = stopped(2)
    shutil.rmtree(tmp_path / "runs")
    found = find_resumable(run_id)
    assert found.config == CONFIG
    state = found.checkpoint("any")
    assert state is not None
    assert [epoch.number for epoch in state.history] == [1, 2]
    with open_run(found.config, found) as run:
        run.log_history(state.history)
    assert len(client.get_metric_history(run_id, "validation/mae")) == 2


def test_a_run_that_another_machine_took_further_goes_on_from_there(client: MlflowClient, tmp_path: Path) -> None:
    run_id = stopped(1)
    shutil.copytree(tmp_path / "runs", tmp_path / "elsewhere")
    with pytest.raises(Interrupted):
        train_until(2, find_resumable(run_id))
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "elsewhere").rename(tmp_path / "runs")
    further = find_resumable(run_id).checkpoint("any")
    assert further is not None
    assert further.snapshot.epoch == 2


def test_what_a_machine_did_alone_is_dropped_where_another_one_went_on(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one was cut off: its epochs 2 and 3 never reached the server, which has another's epoch 2."""
    run_id = stopped(1)
    shutil.copytree(tmp_path / "runs", tmp_path / "other")
    with monkeypatch.context() as cut_off:
        cut_off.setattr("agedetect.tracking.sender.send", cut)
        with pytest.raises(Interrupted):
            train_until(3, find_resumable(run_id))
    (tmp_path / "runs").rename(tmp_path / "first")
    (tmp_path / "other").rename(tmp_path / "runs")
    with pytest.raises(Interrupted):
        train_until(2, find_resumable(run_id))
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "first").rename(tmp_path / "runs")
    found = find_resumable("last")
    state = found.checkpoint("any")
    assert state is not None
    assert state.snapshot.epoch == 2
    with pytest.raises(Interrupted):
        train_until(3, found)
    assert sorted(point.step for point in client.get_metric_history(run_id, "train/loss")) == [1, 2, 3]


def cut(*_: object) -> None:
    raise ConnectionError("cut off")


def test_a_training_that_was_cut_off_ends_where_another_machine_has_taken_its_run(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train() -> None:
        with open_run(CONFIG) as run:
            client.set_tag(run.id, OWNER_TAG, "another")
            with monkeypatch.context() as cut_off:
                cut_off.setattr("agedetect.tracking.sender.send", cut)
                run.log_metrics({"x": 1.0})
                time.sleep(0.5)
            for _ in range(100):  # epochs
                time.sleep(0.1)
                run.log_metrics({"x": 1.0})
            client.set_tag(run.id, "trained", "yes")

    with pytest.raises(TakenError, match=r"another machine went on with it; .*agedetect runs --remove [0-9a-f]+$"):
        train()
    (run,) = client.search_runs(["1"])
    assert run.info.status == "RUNNING"  # there
    assert "trained" not in run.data.tags


def test_the_last_run_is_a_protocol_and_not_its_fold(client: MlflowClient) -> None:
    with pytest.raises(Interrupted), open_run(CONFIG) as parent, open_run(CONFIG, parent=parent):
        raise KeyboardInterrupt
    folds = [folder for folder in kept_runs() if folder.facts()["parent"] == parent.id]
    os.utime(folds[0].path / "run.json", (2e9, 2e9))
    assert kept_runs()[0] == folds[0]
    assert find_resumable("last").run_id == parent.id


def test_a_run_of_another_version_is_listed_and_can_be_removed(client: MlflowClient) -> None:
    run_id = stopped(1)
    RunFolder.of(run_id).note(config={"new_option": 1})
    assert [(run.run_id, run.state) for run in list_runs()] == [(run_id, "unreadable")]
    assert remove(run_id) > 0


def test_a_run_that_another_process_sends_meanwhile_leaves_no_folder(client: MlflowClient, tmp_path: Path) -> None:
    stopped(1)
    stopped(1)
    sending = sync()
    first, _ = next(sending)
    (other,) = [folder for folder in kept_runs() if folder.run_id != first]
    other.remove()
    _, outcome = next(sending)
    assert isinstance(outcome, RunError)
    assert not other.path.exists()


def test_a_database_that_is_away_is_no_hindrance(client: MlflowClient) -> None:
    run_id = stopped(1)
    folder = RunFolder.of(run_id)
    folder.note(store="postgresql+psycopg2://anna:secret@127.0.0.1:9/mlflow")
    began = time.monotonic()
    assert find_resumable(run_id).tracked is None
    ((_, outcome),) = list(sync(run_id))
    assert "lacks a part" in str(outcome)
    assert time.monotonic() - began < 30  # MLflow's own retries take 105 s, each time


def test_a_run_that_is_being_trained_is_not_resumed_beside(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(CONFIG) as run, pytest.raises(RunError, match="it is being trained on this machine"):
        find_resumable(run.id)
    run_id = stopped(1)
    client.update_run(run_id, "RUNNING")
    beat = {"time": time.time(), "host": "another-machine", "process": 1}
    client.set_tag(run_id, HEARTBEAT_TAG, json.dumps(beat))
    with pytest.raises(RunError, match=r"another-machine was training it \d+ seconds ago"):
        find_resumable(run_id)
    client.set_tag(run_id, HEARTBEAT_TAG, json.dumps({**beat, "time": time.time() - 100}))
    assert find_resumable(run_id).run_id == run_id  # dead for longer than a heartbeat may take
    client.set_tag(run_id, HEARTBEAT_TAG, json.dumps({**beat, "host": socket.gethostname()}))
    assert find_resumable(run_id).run_id == run_id  # killed here a moment ago: its lock is free
    monkeypatch.setenv("AGEDETECT_RUNS", str(tmp_path / "of another user"))
    with pytest.raises(RunError, match=r"was training it \d+ seconds ago"):
        find_resumable(run_id)
    client.set_tag(run_id, HEARTBEAT_TAG, json.dumps({**beat, "time": 0}))
    client.log_metric(run_id, "test/mae", 5.0)
    with pytest.raises(RunError, match="it is trained; the machine that trained it has the rest"):
        find_resumable(run_id)


def test_of_two_machines_that_resume_at_once_one_is_refused(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_resumable(stopped(1))

    def other_machine(seconds: float) -> None:
        if found.tracked and client.get_run(found.run_id).data.tags.get("agedetect.owner"):
            client.set_tag(found.run_id, "agedetect.owner", "another")

    monkeypatch.setattr(time, "sleep", other_machine)
    with pytest.raises(RunError, match="another machine resumed it at the same moment"), open_run(found.config, found):
        pass


def test_a_finished_and_a_deleted_run_are_refused(client: MlflowClient) -> None:
    with open_run(CONFIG) as run:
        pass
    with pytest.raises(RunError, match="it is finished"):
        find_resumable(run.id)
    run_id = stopped(1)
    client.delete_run(run_id)
    with pytest.raises(RunError, match=f"it was deleted; mlflow runs restore --run-id {run_id}"):
        find_resumable(run_id)


def test_a_deleted_experiment_is_one_line(client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("agedetect")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(RunError, match="experiment agedetect: it was deleted; restore it"), open_run(CONFIG):
        pass


def test_a_run_knows_its_store_in_whatever_folder_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = stopped(1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with tracking("sqlite:///mlflow.db"):
        assert find_resumable("last").run_id == run_id
        assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_what_is_kept_is_listed_sent_and_removed(client: MlflowClient) -> None:
    run_id = stopped(2)
    (kept,) = list_runs()
    assert (kept.run_id, kept.state, kept.epoch, kept.epochs) == (run_id, "stopped", 2, 5)
    folder = RunFolder.of(run_id)
    folder.note(ended="")  # as a SIGKILL leaves it
    client.update_run(run_id, "RUNNING")
    assert list(sync()) == [(run_id, f"sent; go on with: agedetect train --resume {run_id}")]
    assert client.get_run(run_id).info.status == "KILLED"
    assert remove(run_id) > 0
    assert list_runs() == []
    with pytest.raises(RunError, match="nothing of it is kept"):
        list(sync(run_id))
