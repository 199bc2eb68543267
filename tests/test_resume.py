"""A job that is stopped half-way, however it is, keeps whole rows; --resume does what is missing and nothing else."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.estimate import Estimate, Failure, Result
from agedetect_runtime.report import report_to
from conftest import listen_to_ctrl_c
from tiny_models import write_tiny_model

COMMAND = [sys.executable, "-c", "from agedetect_runtime.cli import main; main()", "--device", "cpu"]
IMAGES = 60
FED = 40
TORN = 'torn by\n"the, end".jpg'
ODD_NAMES = ["a.jpg", "=b.jpg", TORN, os.fsdecode(b"caf\xe9.jpg"), 'quote".jpg', "顔.jpg", "\r.jpg", "NA", "z.jpg"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "age.onnx")


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Sixty paths: grey images, each tenth one missing."""
    folder = tmp_path_factory.mktemp("faces")
    paths = [folder / f"{index:02}.png" for index in range(IMAGES)]
    for index, path in enumerate(paths):
        if index % 10:
            Image.new("RGB", (32, 32), (index,) * 3).save(path)
    return [str(path) for path in paths]


def infer(
    paths: Iterable[str], *arguments: str | Path, preexec_fn: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    call = [*COMMAND, "-", *map(str, arguments)]
    stdin = "".join(f"{path}\n" for path in paths)
    return subprocess.run(
        call, input=stdin, capture_output=True, text=True, timeout=60, check=False, preexec_fn=preexec_fn
    )


def whole_rows(path: Path) -> int:
    """The rows below a CSV's heading, or the lines of JSON; 0 while there is no file."""
    return path.read_text().count("\n") - (".csv" in path.name) if path.exists() else 0


@contextmanager
def waiting_job(paths: list[str], *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A job that has been given so many paths and waits for more."""
    pipe = subprocess.PIPE
    call = [*COMMAND, "-", "--batch-size", "4", "--threads", "1", *map(str, arguments)]
    with subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=listen_to_ctrl_c) as process:
        assert process.stdin
        process.stdin.write("".join(f"{path}\n" for path in paths).encode())
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()


def wait_until(has_come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not has_come():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop_half_way(output: Path, model: Path, paths: list[str], stop: signal.Signals) -> tuple[int, str]:
    """The exit status of a job that a signal stopped after its first rows, and what it said."""
    part = output.with_name(f"{output.name}.part")
    with waiting_job(paths, "--onnx", model, "--output", output) as process:
        wait_until(lambda: whole_rows(part) >= FED // 2)
        process.send_signal(stop)
        _, told = process.communicate()
    return process.returncode, told.decode()


# Killed, really


@pytest.mark.parametrize(
    ("stop", "suffix"),
    [(signal.SIGKILL, "csv"), (signal.SIGKILL, "jsonl"), (signal.SIGTERM, "csv"), (signal.SIGINT, "jsonl")],
)
def test_a_resumed_job_ends_with_the_file_that_an_uninterrupted_one_writes(
    tmp_path: Path, model: Path, listed: list[str], stop: signal.Signals, suffix: str
) -> None:
    unstopped, output = tmp_path / f"all.{suffix}", tmp_path / f"ages.{suffix}"
    infer(listed, "--onnx", model, "--output", unstopped)
    code, told = stop_half_way(output, model, listed[:FED], stop)
    part = tmp_path / f"ages.{suffix}.part"
    done = whole_rows(part)
    assert code == (130 if stop is signal.SIGINT else -stop)
    assert told == (f"Note: {done} rows are saved in {part.name}; use --resume to continue\n" if code > 0 else "")
    assert not output.exists()
    assert unstopped.read_bytes().startswith(part.read_bytes())  # whole rows, in order

    resumed = infer(listed, "--onnx", model, "--output", output, "--resume", "--strict")
    assert resumed.stderr.startswith(f"{IMAGES} images ({done} of them done before), 6 failed, ")
    assert resumed.returncode == 1  # --strict: the ones that failed before count
    assert output.read_bytes() == unstopped.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([output.name, unstopped.name])


def test_a_job_may_be_stopped_more_than_once(tmp_path: Path, model: Path, listed: list[str]) -> None:
    output, part = tmp_path / "ages.csv", tmp_path / "ages.csv.part"
    stop_half_way(output, model, listed[:FED], signal.SIGKILL)
    first = part.read_bytes()
    with waiting_job(listed, "--onnx", model, "--output", output, "--resume") as process:
        wait_until(lambda: whole_rows(part) >= FED)
        process.kill()
    assert part.read_bytes().startswith(first)
    assert infer(listed, "--onnx", model, "--output", output, "--resume").returncode == 0
    assert [line.split(",")[0] for line in output.read_text().splitlines()[1:]] == listed


def test_a_killed_pipe_has_whole_rows(model: Path, listed: list[str]) -> None:
    with waiting_job(listed[:FED], "--onnx", model) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(FED // 2)]
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
    assert all(line.endswith(b"\n") and line.count(b",") == 4 for line in lines)


# A full disk


def test_a_full_disk_leaves_whole_rows_to_go_on_with(tmp_path: Path, model: Path, listed: list[str]) -> None:
    def leave_two_thousand_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    output, part = tmp_path / "ages.csv", tmp_path / "ages.csv.part"
    full = infer(listed, "--onnx", model, "--output", output, preexec_fn=leave_two_thousand_bytes)
    assert full.returncode == 1
    assert full.stderr.splitlines() == [
        f"Note: {whole_rows(part)} rows are saved in ages.csv.part; use --resume to continue",
        f"Error: {output}: cannot be written: file too large",
    ]
    assert 0 < whole_rows(part) < IMAGES
    assert part.read_bytes().endswith(b"\n")
    assert infer(listed, "--onnx", model, "--output", output, "--resume").returncode == 0
    assert [line.split(",")[0] for line in output.read_text().splitlines()[1:]] == listed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that Linux has")
def test_standard_output_without_room_is_one_line(model: Path, listed: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        call = [*COMMAND, *listed, "--onnx", str(model)]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: standard output: cannot be written: no space left on device\n"


# Every place to be torn at


def estimate(path: str) -> Result:
    return Failure(path, "not an image") if path == "z.jpg" else Estimate(path, len(path) / 8)


def report(output: Path, paths: list[str], *, resume: bool = False, model: str = "one") -> tuple[int, int]:
    """Write a whole report; how many rows were there before, and how many were written."""
    with report_to(output, paths, metadata={"model": model}, resume=resume) as opened:
        missing = list(opened.missing)
        for path in missing:
            opened.write(estimate(path))
    return opened.done_before, len(missing)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_wherever_a_row_is_torn_the_rest_is_done_once(tmp_path: Path, suffix: str) -> None:
    output, part = tmp_path / f"ages.{suffix}", tmp_path / f"ages.{suffix}.part"
    report(output, ODD_NAMES)
    whole = output.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]  # those inside names, too
    counts = set()
    for length in sorted(
        {*range(0, len(whole), 11), *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}
    ):
        output.unlink(missing_ok=True)
        part.write_bytes(whole[:length])
        part.with_name(f"{part.name}.json").write_text('{"model": "one"}')
        kept, written = report(output, ODD_NAMES, resume=True)
        assert kept + written == len(ODD_NAMES)
        assert output.read_bytes() == whole
        counts.add(kept)
    assert counts == set(range(len(ODD_NAMES) + 1))


# What isn't resumed


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """The part of a job that was stopped after a.jpg, b.jpg and c.jpg."""

    def stop_after(names: list[str]) -> None:
        with report_to(tmp_path / "ages.csv", metadata={"model": "one"}) as left:
            for name in names:
                left.write(estimate(name))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_after(["a.jpg", "b.jpg", "c.jpg"])
    return tmp_path / "ages.csv.part"


NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["b.jpg", "c.jpg"], "its image 1 is a.jpg, now it is b.jpg: new images may only be added at the end"),
        (["a.jpg", "aa.jpg", "b.jpg", "c.jpg"], "its image 2 is b.jpg, now it is aa.jpg"),
        (["a.jpg", "b.jpg"], "its image 3 is c.jpg, now there is none"),
    ],
)
def test_images_that_came_or_went_before_the_last_row_are_refused(part: Path, paths: list[str], words: str) -> None:
    before = part.read_bytes()
    with pytest.raises(AgedetectError, match=f"^ages.csv.part: {words}.*; to start over, delete it, or rename it"):
        report(part.with_suffix(""), paths, resume=True)
    assert part.read_bytes() == before


def test_images_that_came_last_are_done(part: Path) -> None:
    assert report(part.with_suffix(""), NAMES, resume=True) == (3, 1)
    assert not part.exists()


def test_rows_of_another_model_are_refused(part: Path) -> None:
    with pytest.raises(AgedetectError, match=r"^ages.csv.part: was started with a different model; to start over"):
        report(part.with_suffix(""), NAMES, resume=True, model="two")
    assert whole_rows(part) == 3


@pytest.mark.parametrize("metadata", [None, "", "[]", "{", '{"other": 1}'])
def test_rows_without_their_job_metadata_are_refused(part: Path, metadata: str | None) -> None:
    sidecar = part.with_name("ages.csv.part.json")
    sidecar.unlink() if metadata is None else sidecar.write_text(metadata)
    with pytest.raises(
        AgedetectError, match=r"its job metadata, ages.csv.part.json, can't be read|different model and a different oth"
    ):
        report(part.with_suffix(""), NAMES, resume=True)
    assert whole_rows(part) == 3


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data.replace(b"b.jpg", b"\xff.jpg"), "its image 2 is \ufffd.jpg"),
        (lambda data: data.replace(b"file,age", b"file,sex"), "has different columns"),
        (lambda data: data.replace(b"b.jpg,0.625,,,\n", b"\n"), "its row 2 is damaged"),
        (lambda data: data + b"\0" * 70_000, "its row 4 is damaged"),
        (lambda data: data + b'"' * 99_001 + b"\n", "its row 4 is damaged"),
    ],
)
def test_a_damaged_part_is_refused_and_kept(part: Path, damage: Callable[[bytes], bytes], words: str) -> None:
    damaged = damage(part.read_bytes())
    part.write_bytes(damaged)
    with pytest.raises(AgedetectError, match=words):
        report(part.with_suffix(""), NAMES, resume=True)
    assert part.read_bytes() == damaged


def test_a_part_is_not_overwritten_without_resume(part: Path) -> None:
    with pytest.raises(AgedetectError, match=r"holds the rows of an interrupted job; use --resume to continue it"):
        report(part.with_suffix(""), NAMES)
    assert whole_rows(part) == 3


def test_a_finished_report_is_not_made_anew_by_resume(part: Path) -> None:
    output = part.with_suffix("")
    report(output, NAMES, resume=True)
    with pytest.raises(AgedetectError, match=r"ages.csv: is already complete; use --force instead to start over"):
        report(output, NAMES, resume=True)
    assert whole_rows(output) == 4
    assert not part.exists()
    assert report(output, NAMES) == (0, 4)


def test_resume_begins_where_nothing_was_begun(tmp_path: Path) -> None:
    assert report(tmp_path / "ages.csv", NAMES, resume=True) == (0, 4)


def test_resume_without_an_output_is_a_wrong_call(model: Path, listed: list[str]) -> None:
    done = infer(listed, "--onnx", model, "--resume")
    assert done.returncode == 2
    assert "it needs the --output of the interrupted job" in done.stderr


def test_a_second_job_keeps_off_the_part_of_a_running_one(tmp_path: Path, model: Path, listed: list[str]) -> None:
    output, part = tmp_path / "ages.csv", tmp_path / "ages.csv.part"
    with waiting_job(listed[:FED], "--onnx", model, "--output", output) as process:
        wait_until(lambda: whole_rows(part) >= FED // 2)
        second = infer(listed, "--onnx", model, "--output", output, "--resume")
        assert second.returncode == 1
        reason = "another process is writing it; wait, or choose another --output"
        assert second.stderr == f"Error: ages.csv.part: {reason}\n"
        process.communicate("".join(f"{path}\n" for path in listed[FED:]).encode())
    assert process.returncode == 0
    assert whole_rows(output) == IMAGES


def test_the_part_says_what_makes_its_rows(tmp_path: Path, model: Path, listed: list[str]) -> None:
    other = write_tiny_model(tmp_path / "other.onnx", bias=2.0)
    output = tmp_path / "ages.csv"
    stop_half_way(output, model, listed[:FED], signal.SIGKILL)
    assert set(json.loads((tmp_path / "ages.csv.part.json").read_text())) >= {"model", "version of agedetect"}
    done = infer(listed, "--onnx", other, "--output", output, "--resume")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ages.csv.part: was started with a different model; to start over, delete it")
