"""An estimator's life: from bytes or a file, closed, pickled to another process, inherited by a forked one."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agedetect_runtime import AgedetectError, AgeEstimator, ModelError, ProviderError, openmodel, truncation
from agedetect_runtime.openmodel import OpenModel
from agedetect_runtime.session import open_session
from tiny_models import tiny_spec, write_tiny_model

BLACK = np.zeros((32, 32, 3), np.uint8)
PATIENCE_SECONDS = 60  # for a process that hangs; one that doesn't takes one or two


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Black is 1 year old."""
    return write_tiny_model(tmp_path / "age.onnx")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Black is 50 years old."""
    return write_tiny_model(tmp_path / "other.onnx", bias=50.0)


# The model's bytes


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_model_are_a_model(model: Path, kind: Callable[[bytes], Any]) -> None:
    data = model.read_bytes()
    model.unlink()
    estimator = AgeEstimator(kind(data), device="cpu", threads=2)
    assert (estimator.predict(BLACK).age, estimator.spec) == (1.0, tiny_spec())
    assert repr(estimator) == f"AgeEstimator(<{len(data):,} bytes>, tiny, 32 px, cpu)"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda data: b"", "model of 0 bytes: no bytes"),
        (lambda data: data[:-1], r"model of [\d,]+ bytes: not an ONNX file, or truncated"),
        (
            lambda data: data.replace(b'"agedetect"', b'"agedetecT"').replace(b"agedetect", b"agedetecT"),
            "no 'agedetect'",
        ),
        (lambda data: data + bytes([0x3A, 4, 0x2A, 2, 0x70, 1]), "its weights are in another file"),
    ],
)
def test_bytes_that_are_no_model_are_refused_as_files_are(
    model: Path, edit: Callable[[bytes], bytes], words: str
) -> None:
    with pytest.raises(ModelError, match=f"{words}.*; export it with agedetect-export$"):
        AgeEstimator(edit(model.read_bytes()), device="cpu")


# Closing


def test_leaving_the_block_releases_the_model(model: Path) -> None:
    with AgeEstimator(model, device="cpu", threads=2) as estimator:
        assert estimator.predict(BLACK).age == 1.0
        session = weakref.ref(estimator._model.here().session)
    gc.collect()
    assert session() is None


def test_a_closed_estimator_says_so_whatever_it_is_asked(model: Path) -> None:
    estimator = AgeEstimator(model, device="cpu")
    begun = estimator.predict_many([BLACK])
    estimator.close()
    estimator.close()
    uses: list[Callable[[], object]] = [
        lambda: estimator.predict(BLACK),
        lambda: estimator.predict_many([BLACK]),
        lambda: list(begun),
        lambda: estimator.ages(BLACK[None]),
        lambda: pickle.dumps(estimator),
        estimator.__enter__,
    ]
    for use in uses:
        with pytest.raises(AgedetectError, match=r"^age\.onnx: this AgeEstimator is closed; create a new one$"):
            use()


def test_a_repr_is_short_and_cannot_steer_a_terminal(tmp_path: Path, model: Path) -> None:
    estimator = AgeEstimator(str(model), device="cpu")
    assert repr(estimator) == "AgeEstimator('age.onnx', tiny, 32 px, cpu)"
    estimator.close()
    assert repr(estimator) == "AgeEstimator('age.onnx', closed)"
    spec = replace(tiny_spec(), backbone="a\n\x1b[2J")
    odd = AgeEstimator(write_tiny_model(tmp_path / "odd.onnx", metadata=spec.to_json()), device="cpu")
    assert repr(odd) == "AgeEstimator('odd.onnx', a\\n\\x1b[2J, 32 px, cpu)"


# Pickling


def answer(pipe: Connection, estimator: AgeEstimator) -> None:
    """In another process: ages, one alone and many, and how the estimator is set up."""
    ages = [estimator.predict(BLACK).age, *(row.age for row in estimator.predict_many([BLACK] * 20))]
    pipe.send((set(ages), estimator.threads, estimator.batch_size, estimator.image_seconds, os.getpid()))


def answer_of_a_process(context: SpawnContext | ForkContext, estimator: AgeEstimator) -> tuple[Any, ...]:
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs, estimator))
    process.start()
    theirs.close()
    try:
        assert ours.poll(PATIENCE_SECONDS), "the process hangs"
        received: tuple[Any, ...] = ours.recv()
    finally:
        process.join(1)
        process.kill()
    assert received[-1] != os.getpid()
    return received[:-1]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_pickled_estimator_is_opened_again_by_a_worker(model: Path, as_bytes: bool) -> None:
    source = model.read_bytes() if as_bytes else model
    estimator = AgeEstimator(source, device="cpu", threads=2, batch_size=3, image_seconds=9)
    assert answer_of_a_process(multiprocessing.get_context("spawn"), estimator) == ({1.0}, 2, 3, 9)


def test_a_pickle_of_a_path_is_small_and_finds_the_file_from_another_folder(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    estimator = AgeEstimator("age.onnx", device="cpu")
    monkeypatch.chdir("/")
    data = pickle.dumps(estimator)
    assert len(data) < 1000
    assert pickle.loads(data).predict(BLACK).age == copy.copy(estimator).predict(BLACK).age == 1.0


def test_a_file_that_has_changed_is_refused_not_opened_as_another_model(model: Path, other: Path) -> None:
    estimator = AgeEstimator(model, device="cpu")
    data = pickle.dumps(estimator)
    copied = model.with_name("copy.onnx")
    copied.write_bytes(model.read_bytes())
    copied.replace(model)
    assert pickle.loads(data).predict(BLACK).age == 1.0  # the same content, as on another machine
    other.replace(model)
    with pytest.raises(
        ModelError, match=r"^age\.onnx: has changed since its AgeEstimator was pickled; create a new one$"
    ):
        pickle.loads(data)
    model.unlink()
    with pytest.raises(ModelError, match=r"^age\.onnx: cannot be read: no such file"):
        pickle.loads(data)


def test_a_file_that_changed_before_it_was_pickled_is_refused_there(model: Path, other: Path) -> None:
    estimator = AgeEstimator(model, device="cpu")
    other.replace(model)
    with pytest.raises(ModelError, match=r"^age\.onnx: has changed since it was opened; create a new AgeEstimator$"):
        pickle.dumps(estimator)


# Forks

fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows doesn't fork")


@fork_only
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_an_estimator_that_has_worked_works_in_a_forked_child(model: Path) -> None:
    estimator = AgeEstimator(model, device="cpu", threads=3, batch_size=4)
    estimator.predict(BLACK)  # on threads of ONNX Runtime, which the child lacks
    rows = estimator.predict_many([BLACK] * 1000)
    next(rows)  # and threads of ours
    assert answer_of_a_process(multiprocessing.get_context("fork"), estimator) == ({1.0}, 3, 4, 30.0)
    assert [row.age for row in rows] == [1.0] * 999


@fork_only
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_locks_that_other_threads_hold_at_the_fork_are_free_in_the_child(model: Path) -> None:
    estimator = AgeEstimator(model, device="cpu", threads=1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with truncation._lock, openmodel._lock, estimator._model.here().callers._lock:
            held.set()
            done.wait(PATIENCE_SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        assert answer_of_a_process(multiprocessing.get_context("fork"), estimator)[0] == {1.0}
    finally:
        done.set()
        holder.join()


@fork_only
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_refuses_a_file_that_has_changed(model: Path, other: Path) -> None:
    estimator = AgeEstimator(model, device="cpu", threads=1)
    other.replace(model)
    assert estimator.predict(BLACK).age == 1.0
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def ask() -> None:
        try:
            theirs.send(estimator.predict(BLACK).age)
        except ModelError as error:
            theirs.send(str(error))

    process = context.Process(target=ask)
    process.start()
    assert ours.poll(PATIENCE_SECONDS)
    assert ours.recv() == "age.onnx: has changed since it was opened; create a new AgeEstimator"
    process.join()


def test_a_model_on_a_gpu_is_refused_in_a_child_and_not_moved_to_the_cpu(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = OpenModel(replace(open_session(model, device="cpu"), device="cuda"))
    monkeypatch.setattr(os, "getpid", lambda: 0)  # as in a child: there is no GPU here to fork with
    with pytest.raises(ProviderError, match=r"^device cuda: it can't be used in a forked process; use .* spawn"):
        opened.here()


# gunicorn's workers end like this one: with the interpreter's and the C library's clean-up, not by os._exit.
FORKED = """
import os, sys
import numpy as np
from agedetect_runtime import AgedetectError, AgeEstimator
black = np.zeros((32, 32, 3), np.uint8)
estimator = AgeEstimator(sys.argv[1], device="cpu", threads=4)
estimator.predict(black)
rows = estimator.predict_many([black] * 1000)
next(rows)
if os.fork() == 0:
    {use}
    sys.exit(7)
_, status = os.wait()
print(os.waitstatus_to_exitcode(status))
"""
USES = {
    "nothing": "pass",
    "an age": "print(estimator.predict(black).age, flush=True)",
    "closing": "estimator.close()",
    "rows of the parent": "try: list(rows)\n    except AgedetectError as error: print(error, flush=True)",
}


@fork_only
@pytest.mark.parametrize("use", USES)
def test_a_forked_child_ends_as_it_should(model: Path, use: str) -> None:
    call = [sys.executable, "-W", "ignore", "-c", FORKED.replace("{use}", USES[use]), str(model)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    *told, code = done.stdout.splitlines()
    assert (done.stderr, code) == ("", "7")
    expected = {
        "an age": ["1.0"],
        "rows of the parent": ["predict_many was begun before this process was forked; call it again in the child"],
    }
    assert told == expected.get(use, [])
