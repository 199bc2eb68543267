"""The queue of a run on the disk: whole entries, in their order, as few as are needed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from agedetect.errors import RunError
from agedetect.tracking.queue import Queue
from agedetect.tracking.run_folder import RunFolder, find_kept, kept_runs
from agedetect.tracking.sender import Sender, is_passing
from export_store import tracking


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """Of a run in a store of its own."""
    monkeypatch.setenv("AGEDETECT_RUNS", str(tmp_path / "runs"))
    with tracking(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        client = MlflowClient()
        experiment = client.create_experiment("agedetect", artifact_location=(tmp_path / "artifacts").as_uri())
        folder = RunFolder.of(client.create_run(experiment).info.run_id)
        folder.note(store=mlflow.get_tracking_uri())
        yield folder


def write(text: str) -> object:
    def files(folder: Path) -> None:
        (folder / "a.txt").write_text(text)

    return files


def test_an_entry_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no space left on device")

    queue = Queue(tmp_path)
    with pytest.raises(OSError, match="no space left"):
        queue.add("artifacts", {}, fail)
    assert queue.is_empty
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "00000001").mkdir()  # as a process leaves it that was killed while it wrote the files
    Queue(tmp_path).clean()
    assert list(tmp_path.iterdir()) == []


def test_of_what_replaces_each_other_the_last_is_sent_unless_one_is_on_its_way(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    for number in (1, 2):
        queue.add("batch", {"number": number}, replaces="curves")
    sending = queue.first()
    assert sending is not None
    for number in (3, 4):
        queue.add("batch", {"number": number}, replaces="curves")
    queue.add("batch", {"number": 5})
    left = []
    while entry := queue.first():
        left.append(entry.body["number"])
        queue.remove(entry)
    assert left == [2, 4, 5]


def test_what_was_sent_before_changes_nothing(folder: RunFolder) -> None:
    """A kill between the sending of an entry and its removal sends it again."""
    for _ in range(2):
        queue = Queue(folder.path / "queue")
        queue.add("batch", {"metrics": [("train/loss", 0.5, 1_700_000_000_000, 1)], "params": {"a": "1"}})
        sender = Sender(folder, queue)
        assert sender.drain(5) is None
        sender.stop()
    client = MlflowClient()
    assert len(client.get_metric_history(folder.run_id, "train/loss")) == 1


def test_a_refusal_is_told_at_once_and_keeps_the_entry(folder: RunFolder) -> None:
    MlflowClient().delete_run(folder.run_id)
    queue = Queue(folder.path / "queue")
    queue.add("batch", {"tags": {"a": "b"}})
    sender = Sender(folder, queue)
    begun = time.monotonic()
    trouble = sender.drain(60)
    sender.stop()
    assert isinstance(trouble, MlflowException)
    assert not is_passing(trouble)
    assert time.monotonic() - begun < 20  # not the sixty that an outage may last
    assert not queue.is_empty


def test_a_folder_is_for_one_process_at_a_time_and_last_is_the_latest_that_is_free(folder: RunFolder) -> None:
    other = RunFolder.of("f" * 32)
    time.sleep(0.01)
    other.note(store="sqlite:///elsewhere.db")
    assert [kept.run_id for kept in kept_runs()] == [other.run_id, folder.run_id]
    with other.locked():
        with (
            pytest.raises(RunError, match="another process is training or sending it"),
            RunFolder.of(other.run_id).locked(),
        ):
            pass
        assert find_kept("last").run_id == folder.run_id
    assert find_kept("last").run_id == other.run_id


def test_no_home_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("AGEDETECT_RUNS")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(RunError, match="set AGEDETECT_RUNS to a folder"):
        kept_runs()
