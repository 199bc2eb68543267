"""The whole corpus through `agedetect-infer`, in one process: a row for each file, in order, and the right one."""

from __future__ import annotations

import csv
import ctypes
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from agedetect_runtime.names import name_from
from conftest import ROOT
from malformed import kinds, table
from malformed.outcomes import Kind
from malformed.pictures import PICTURE, age_of, encoded, write_quarters_model

COMMAND = [sys.executable, "-c", "from agedetect_runtime.cli import main; main()", "--device", "cpu"]
# VmHWM is the program's own peak: getrusage's begins with the size of the process that started it, here the tests'.
PROGRAM = """
import atexit, sys
from pathlib import Path
from agedetect_runtime.cli import main
atexit.register(lambda: Path(sys.argv[1]).write_text(Path("/proc/self/status").read_text()))
main(sys.argv[2:])
"""


@dataclass(frozen=True)
class Job:
    """One run over the corpus."""

    kinds: list[Kind]
    paths: list[str]
    rows: list[dict[str, str]]
    stderr: str
    status: int
    seconds: float
    peak_bytes: int


def without_roots_privilege() -> None:
    """For preexec_fn: root reads files that forbid it, so it gives that capability up for what it starts."""
    pr_capbset_drop, cap_dac_override, cap_dac_read_search = 24, 1, 2  # linux/prctl.h, linux/capability.h
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (cap_dac_override, cap_dac_read_search):
            if libc.prctl(pr_capbset_drop, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "the capability to read any file can't be given up")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("corpus")
    corpus = list(kinds())
    paths = []
    for index, kind in enumerate(corpus):
        place = folder / f"{index:03}"
        place.mkdir()
        paths.append(str(kind.make(place / f"face{kind.suffix}")))
    model = write_quarters_model(folder / "quarters.onnx")
    output, errors = folder / "ages.csv", folder / "stderr.txt"
    # As an argument, a folder would mean the images in it: its path comes in a list.
    arguments = ["-" if kind.name == "a folder" else path for kind, path in zip(corpus, paths, strict=True)]
    (folder / "list").write_text(paths[arguments.index("-")] + "\n")
    status_file = folder / "status"
    options = ["--device", "cpu", "--threads", "1"]
    call = [
        sys.executable,
        "-c",
        PROGRAM,
        str(status_file),
        *options,
        "--onnx",
        str(model),
        "--output",
        str(output),
        "--",
        *arguments,
    ]
    with (folder / "list").open() as listed, errors.open("wb") as told:
        process = subprocess.Popen(call, stdin=listed, stdout=told, stderr=told, preexec_fn=without_roots_privilege)
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        _, status, usage = os.wait4(process.pid, 0)
        watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    for closed in folder.glob("*/face*"):
        if not closed.is_symlink() and not closed.stat().st_mode & 0o700:
            closed.chmod(0o700)  # so that the folder can be removed
    assert output.exists(), errors.read_text()
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    seconds = usage.ru_utime + usage.ru_stime
    peak = 1024 * int(status_file.read_text().partition("VmHWM:")[2].split()[0])
    return Job(corpus, paths, rows, errors.read_text(), process.returncode, seconds, peak)


def test_the_corpus_has_the_kinds_that_it_is_said_to_have() -> None:
    names = [(kind.family, kind.name) for kind in kinds()]
    assert len(set(names)) == len(names) >= 200


def test_the_table_in_the_docs_is_the_corpus() -> None:
    assert table() in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_file_has_its_row_in_its_place(job: Job) -> None:
    assert [name_from(row["file"]) for row in job.rows] == job.paths


def test_every_row_is_the_right_one(job: Job) -> None:
    wrong = []
    for kind, row in zip(job.kinds, job.rows, strict=True):
        expected = kind.outcome
        if row["error"]:
            fits = any(re.fullmatch(reason, row["error"]) for reason in expected.reasons) and not row["age"]
        else:
            fits = expected.age is not None and abs(float(row["age"]) - expected.age) <= expected.tolerance
        if not fits:
            wrong.append(f"{kind.family}, {kind.name}: {row['age'] or row['error']}, not {expected}")
    assert not wrong, "\n".join(wrong)


def test_the_job_ends_well_quietly_and_soon(job: Job) -> None:
    failed = sum(bool(row["error"]) for row in job.rows)
    assert job.status == 0, job.stderr
    assert len(job.stderr.splitlines()) == 1
    assert job.stderr.startswith(f"{len(job.rows)} images, {failed} failed, ")
    assert job.seconds < 60  # of a core: it takes 6; a hang would take the watchdog's 120


def test_memory_is_bounded_by_the_largest_image_that_is_let_in(job: Job) -> None:
    # Pillow holds RGB in four bytes a pixel, and a conversion has its source and its result at once.
    assert job.peak_bytes < 2 * 4 * 120e6 + 300e6, f"{job.peak_bytes / 1e6:.0f} MB"


def keep_changing(path: Path, whole: bytes, stop: threading.Event) -> None:
    """Let a file grow from nothing, be whole, shrink to its half, and vanish, over and over."""
    half = len(whole) // 2
    while not stop.is_set():
        with path.open("wb", buffering=0) as file:
            file.write(whole[:half])
            stop.wait(0.002)
            file.write(whole[half:])
        stop.wait(0.004)
        os.truncate(path, half)
        stop.wait(0.002)
        path.unlink()
        stop.wait(0.002)


def test_files_that_grow_shrink_and_vanish_while_they_are_read_have_their_rows(tmp_path: Path) -> None:
    model, stop = write_quarters_model(tmp_path / "quarters.onnx"), threading.Event()
    whole = {kind: encoded(PICTURE, kind) for kind in ("BMP", "PNG", "TIFF", "GIF")}
    paths = {kind: tmp_path / f"face.{kind}" for kind in whole}
    writers = [threading.Thread(target=keep_changing, args=(paths[kind], whole[kind], stop)) for kind in whole]
    listed = [str(path) for path in paths.values()] * 200
    rows: list[dict[str, str]] = []
    for writer in writers:
        writer.start()
    try:
        while len({row["error"] for row in rows}) < 3 or not any(row["age"] for row in rows):  # until all was seen
            call = [*COMMAND, "-", "--onnx", str(model), "--batch-size", "1"]
            done = subprocess.run(call, input="\n".join(listed), capture_output=True, text=True, timeout=60, check=True)
            rows += csv.DictReader(done.stdout.splitlines())
            assert [row["file"] for row in rows[-len(listed) :]] == listed
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert {row["age"] for row in rows} <= {"", str(round(age_of(PICTURE), 3))}  # never that of half a picture
    # "damaged" is what a PNG seems to be whose bytes are read before and after a change.
    cut = "empty file|no such file|truncated|truncated or damaged in its header|not an image|damaged: .*"
    assert all(re.fullmatch(cut, row["error"]) for row in rows if row["error"])
