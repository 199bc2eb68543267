"""What stops a training from below is one line that names the thing and the remedy."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Client, Listener
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from agedetect.config import TrainConfig
from agedetect.data.faces import Face
from agedetect.errors import ConfigError, DataError, ResourceError, StoreError, explained
from agedetect.tracking import patience
from agedetect.tracking.store import one_line
from agedetect.training.dataset import FaceDataset, OrderedBatches, loader
from agedetect.training.start import require_room, resolve


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "lower --batch-size"),
        (MemoryError(), "the machine's memory is full"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate"), "lower --batch-size"),
        (RuntimeError("unable to write to file </torch_1_2>: shared memory"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. "), "--shm-size"),
        (OSError(28, "No space left on device", "/data/x"), "a disk is full (/data/x)"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "a disk is full"),
        (PermissionError(13, "Permission denied", "/data/x"), "no right to read or write (/data/x)"),
        (RuntimeError("Could not determine home directory."), "set HOME"),
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.1]:5"), "was lost"),
    ],
)
def test_an_exception_that_the_user_can_mend_is_one_line(error: Exception, words: str) -> None:
    with pytest.raises(ResourceError) as caught, explained():
        raise error
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bug_stays_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError), explained():
        _ = 1 / 0


@pytest.fixture
def faces(tmp_path: Path) -> list[Face]:
    """160 readable faces: five batches, of which a worker makes two ahead."""
    paths = [tmp_path / f"{index}.png" for index in range(160)]
    for path in paths:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return [Face(path, 30, None, None, path.name, (8, 8)) for path in paths]


def batches_of(faces: list[Face], workers: int) -> Iterator[object]:
    dataset = FaceDataset(faces, 8, "bilinear", seed=0)
    return iter(loader(dataset, OrderedBatches(len(faces)), workers=workers, pinned=False))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("cut", [False, True])
def test_an_image_that_goes_or_is_cut_off_while_training_runs_is_named(
    faces: list[Face], workers: int, cut: bool
) -> None:
    path = faces[150].path
    if cut:
        path.write_bytes(path.read_bytes()[:45])
    else:
        path.unlink()
    reason = "truncated" if cut else "no such file"
    expected = rf"^{path}: {reason}, but could be read before: put it back, then resume$"
    with pytest.raises(DataError, match=expected), explained():
        list(batches_of(faces, workers))


def test_a_worker_that_dies_while_it_hands_over_a_batch_is_one_line() -> None:
    with Listener(("127.0.0.1", 0)) as worker:
        address = worker.address
    with pytest.raises(ResourceError, match=r"^a worker, .* was killed"), explained():
        Client(address)
    with pytest.raises(ConnectionResetError), explained():  # of a server, say
        raise ConnectionResetError


def test_a_worker_that_is_killed_is_one_line(faces: list[Face]) -> None:
    batches = batches_of(faces * 20, 1)
    next(batches)
    (worker,) = [child for child in psutil.Process().children() if "resource_tracker" not in " ".join(child.cmdline())]
    worker.kill()
    with pytest.raises(ResourceError, match=r"^a worker, .* was killed, .* lower --workers$"), explained():
        list(batches)


def test_too_little_shared_memory_is_told_before_the_faces_are_decoded() -> None:
    wanted = TrainConfig(weights="none", workers=8, batch_size=10**6, image_size=1024)  # 75 TB
    with pytest.raises(ResourceError, match=r"^/dev/shm: .* MB are free, 8 workers need .*--shm-size 1g"):
        require_room(wanted)
    require_room(replace(wanted, workers=0))


def test_a_run_keeps_the_absolute_places_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config, _ = resolve(TrainConfig(data_dir="faces", weights="a.pth", model_name="timm/local-dir:net", start="faces"))
    assert config.data_dir == str(tmp_path / "faces")
    assert config.weights == str(tmp_path / "a.pth")
    assert config.model_name == f"timm/local-dir:{tmp_path / 'net'}"
    assert config.backbone_label == "timm/net"
    assert resolve(TrainConfig(weights="none"))[0].weights == "none"


def test_the_limits_are_ours_unless_the_user_has_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in patience.LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    patience.limit_waiting()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def test_a_patience_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGEDETECT_PATIENCE", "3m")
    with pytest.raises(ConfigError, match=r"^AGEDETECT_PATIENCE=3m: give seconds, such as 180$"):
        patience.patience()


def test_no_message_tells_the_password_of_an_address() -> None:
    error = ValueError("API request to http://anna:secret@host/api failed;\npostgresql+psycopg2://anna:secret@host/db")
    assert one_line(error) == "API request to http://host/api failed; postgresql+psycopg2://host/db"


@pytest.mark.parametrize("answers", [False, None])
def test_a_server_that_is_away_is_one_line(answers: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """False: it refuses; None: it takes the question and says nothing."""
    monkeypatch.setattr(patience, "_TIMEOUT", 0.5)
    monkeypatch.setattr(patience, "_RETRIES", 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if answers is False:
            server.close()
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: f"http://user:secret@127.0.0.1:{port}")
        with pytest.raises(
            StoreError, match=r"^http://127.0.0.1:\d+: the tracking server does not answer \("
        ) as caught:
            patience.require_server()
    assert "\n" not in str(caught.value)
