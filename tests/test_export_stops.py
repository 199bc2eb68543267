"""What stops an export: a second one of the same file, a kill at any moment, a registry that refuses."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from agedetect_export.cli import main
from agedetect_export.clients import whole_folder
from agedetect_export.files import EARLIER, GOLDEN, description_path, exclusive, report_path
from agedetect_runtime import AgedetectError, AgeEstimator
from export_source import Store

pytest_plugins = ["export_store"]

# Puts version after version of the three files in place, as an export does, until it is killed.
EXPORTER = """
import sys, tempfile
from pathlib import Path
from agedetect_export.files import EARLIER, exclusive, in_place, places_of
output = Path(sys.argv[1])
for number in range(10_000):
    with exclusive(output), tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        places = places_of(Path(folder), output)
        for made in places:
            made.write_text(f"{number}\\n" * 10_000)
        with in_place(places, Path(folder) / EARLIER):
            print("placed", flush=True)
"""


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["models:/agedetect@candidate", *map(str, arguments)])


def test_a_kill_at_any_moment_leaves_whole_files_and_nothing_that_blocks_the_next(tmp_path: Path) -> None:
    output = tmp_path / "age.onnx"
    places = {output, report_path(output), description_path(output)}
    moments = random.Random(0)
    for _ in range(12):
        command = [sys.executable, "-c", EXPORTER, str(output)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.random() / 20)
        process.kill()
        process.wait()
        for path in places:
            lines = path.read_text().splitlines()
            assert len(lines) == 10_000
            assert len(set(lines)) == 1
        with exclusive(output):
            assert len({path.read_text() for path in places}) == 1  # what was half placed is undone
        assert set(tmp_path.iterdir()) == places


def test_golden_vectors_that_a_killed_export_was_replacing_are_put_back(tmp_path: Path) -> None:
    left = tmp_path / ".golden.abcd1234" / EARLIER
    left.mkdir(parents=True)
    (left / GOLDEN).write_text("earlier")
    with pytest.raises(AgedetectError, match="golden exists"), whole_folder(tmp_path / "golden", force=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["golden"]
    assert (tmp_path / "golden" / GOLDEN).read_text() == "earlier"


def test_the_second_export_of_one_file_is_refused(tmp_path: Path) -> None:
    with exclusive(tmp_path / "age.onnx"):
        result = export("--output", tmp_path / "age.onnx")
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"Error: {tmp_path / 'age.onnx'}: another export is writing it; wait, or choose another place\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_that_cannot_be_registered_stays_and_the_message_says_where(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "age.onnx"
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database:
        database.execute("CREATE TRIGGER r BEFORE INSERT ON registered_models BEGIN SELECT RAISE(ABORT, 'no'); END")
        try:
            result = export("--output", output, "--images", "16", "--register", "refused")
        finally:
            database.execute("DROP TRIGGER r")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "was not registered" in line
    assert f"the file is safe: {output}" in line
    assert AgeEstimator(output, device="cpu").spec.image_size


def test_a_deleted_run_is_told_before_the_model_is_converted(store: Store, tmp_path: Path) -> None:
    client = MlflowClient()
    client.delete_run(store.run_id)
    try:
        result = export("--output", tmp_path / "age.onnx")
    finally:
        client.restore_run(store.run_id)
    assert result.exit_code == 1
    assert f"run {store.run_id}: it is deleted" in result.stderr
    assert "converting" not in result.stderr


def test_artifacts_that_are_gone_are_one_line(store: Store, tmp_path: Path) -> None:
    folder = next(path.parents[1] for path in store.root.rglob("data/age_model"))  # not an export, which has none
    moved = folder.rename(tmp_path / "moved")
    try:
        result = export("--output", tmp_path / "age.onnx")
    finally:
        moved.rename(folder)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "its files are gone from the artifact store: put them back" in result.stderr.splitlines()[-1]


def test_a_broken_mlmodel_stops_no_export(store: Store, tmp_path: Path) -> None:
    """The network and its description are data of ours, beside it."""
    file = next(path.parents[1] / "MLmodel" for path in store.root.rglob("data/age_model"))
    text = file.read_text()
    file.write_text("flavors: {{{")
    try:
        result = export("--output", tmp_path / "age.onnx")
    finally:
        file.write_text(text)
    assert result.exit_code == 0, result.output


def test_ctrl_c_ends_a_program_whose_threads_still_wait() -> None:
    code = """
import time
from concurrent.futures import ThreadPoolExecutor
import click
from agedetect_runtime.terminal import one_line_errors
@click.command()
@one_line_errors()
def main():
    wait = ThreadPoolExecutor().submit(time.sleep, 60)
    print("waiting", flush=True)
    wait.result()
main()
"""
    for interrupts, longest in ((1, 10), (2, 4)):  # seconds: end_soon's five, and no five; the rest is a busy machine
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        for _ in range(interrupts):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        code_of_exit = process.wait(30)
        assert time.monotonic() - began < longest
        assert code_of_exit in (130, -signal.SIGINT)
