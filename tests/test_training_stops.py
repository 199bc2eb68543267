"""A training that is stopped, at any time, goes on to what an unstopped one gives; one that can't go on says why."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from conftest import SMALL_RUN, CallIn, options, program, run_command
from training_runs import artifacts, client_of, experiment_id, only_run, series, stop_after

Command = list[str | Path]
TRAIN: Command = [program("agedetect"), "train"]


@pytest.mark.slow
def test_a_stopped_run_is_killed_and_resumes_to_the_uninterrupted_metrics(
    small_run: Path, drawn_faces: Path, tmp_path: Path
) -> None:
    command: Command = [*TRAIN, "--data-dir", drawn_faces, *options(SMALL_RUN)]
    message = stop_after("epoch 2", command, tmp_path, signal.SIGTERM)
    run = only_run(tmp_path)
    assert run.info.status == "KILLED"
    assert f"agedetect train --resume {run.info.run_id}" in message
    assert "Traceback" not in message
    assert {"checkpoint/odd.pt", "checkpoint/even.pt"} <= artifacts(tmp_path, run)
    again = stop_after("run ", [*TRAIN, "--resume", run.info.run_id], tmp_path, signal.SIGINT)
    assert f"agedetect train --resume {run.info.run_id}" in again  # a second stop, before another epoch is done
    done = run_command([*TRAIN, "--resume", run.info.run_id], tmp_path)
    assert done.returncode == 0, done.stderr
    finished = only_run(tmp_path)
    assert finished.info.status == "FINISHED"
    assert series(tmp_path, finished) == series(small_run, only_run(small_run))  # to the last digit: the same command


@pytest.mark.slow
def test_the_folds_of_a_protocol_are_children_of_one_run_with_their_mean(
    drawn_faces: Path, tmp_path: Path, call_in: CallIn
) -> None:
    shortest = {**SMALL_RUN, "epochs": 1, "head_epochs": 1, "protocol": "folds5"}
    done = run_command([*TRAIN, "--data-dir", drawn_faces, *options(shortest)], tmp_path)
    assert done.returncode == 0, done.stderr
    client = client_of(tmp_path)
    runs = client.search_runs([experiment_id(tmp_path)])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.data.params["fold"] for run in children) == list("01234")
    assert len({run.data.tags["test_fingerprint"] for run in children}) == 5
    errors = [run.data.metrics["test/mae"] for run in children]
    assert parent.data.metrics["test/mae"] == pytest.approx(np.mean(errors))
    assert parent.data.metrics["test/mae_std"] == pytest.approx(np.std(errors, ddof=1))
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert f"test MAE {np.mean(errors):.3f} years, standard deviation" in done.stdout
    assert not client.search_registered_models()  # a protocol measures a recipe
    assert parent.data.metrics["test/coverage"] == pytest.approx(
        np.mean([run.data.metrics["test/coverage"] for run in children])
    )

    (third,) = [run for run in children if run.data.params["fold"] == "3"]  # as if it had been stopped there
    client.delete_run(third.info.run_id)
    killed = client.create_run(parent.info.experiment_id, tags={"mlflow.parentRunId": parent.info.run_id})
    client.log_param(killed.info.run_id, "fold", "3")
    (tmp_path / "best.pt").write_bytes(b"")  # killed in its first epoch, before there was a state to go on from
    client.log_artifact(killed.info.run_id, tmp_path / "best.pt", "checkpoint")
    client.set_terminated(killed.info.run_id, "KILLED")
    client.set_terminated(parent.info.run_id, "KILLED")
    resumed = run_command([*TRAIN, "--resume", parent.info.run_id], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == done.stdout
    assert resumed.stderr.count("epoch 1 ") == 1
    begun = client.search_runs([parent.info.experiment_id], "params.fold = '3'")
    assert [(run.info.run_id, run.info.status) for run in begun] == [(killed.info.run_id, "FINISHED")]
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    refused(call_in(tmp_path, "train", "--resume", parent.info.run_id), 1, "it is finished")


@pytest.mark.slow
def test_a_run_does_not_resume_on_other_faces(drawn_faces: Path, tmp_path: Path, call_in: CallIn) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(drawn_faces, faces)
    command: Command = [*TRAIN, "--data-dir", "faces", *options({**SMALL_RUN, "epochs": 3})]
    stop_after("epoch 1", command, tmp_path, signal.SIGINT)
    next(faces.iterdir()).unlink()
    done = call_in(tmp_path, "train", "--resume", only_run(tmp_path).info.run_id)
    refused(done, 1, "it was trained on the split")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--data-dir", "nowhere"], 1, "nowhere"),
        (["--model-name", "vgg"], 2, "resnet50"),
        (["--head-epochs", "9", "--epochs", "2"], 2, "head_epochs=9 is more than epochs=2"),
        (["--resume", "0" * 32], 1, "no training run with this id"),
        (["--resume", "0" * 32, "--epochs", "3"], 2, "omit epochs"),
        (["--resume", "0" * 32, "--no-register"], 2, "omit no_register"),
        (["--resume", "last"], 1, "can be gone on with"),
        (["--no-register", "--registered-model-name", "a"], 2, "contradict each other"),
    ],
)
def test_a_call_that_cannot_work_says_why_in_one_line(
    arguments: list[str], status: int, words: str, tmp_path: Path, call_in: CallIn
) -> None:
    refused(call_in(tmp_path, "train", *arguments), status, words)


def refused(done: Result, status: int, words: str) -> None:
    """Holds what a refused call says to one line, without a traceback."""
    assert done.exit_code == status, done.output
    assert isinstance(done.exception, SystemExit)  # else what a user would see is a traceback
    errors = re.findall(r"^Error: .*$", done.stderr, re.MULTILINE)
    assert len(errors) == 1, done.stderr
    assert words in done.stderr


def test_the_program_itself_ends_with_that_line_too(tmp_path: Path) -> None:
    done = run_command([*TRAIN, "--device", "cuda", "--weights", "none"], tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert re.fullmatch(r"Error: device=cuda: torch finds no CUDA device; .*\n", done.stderr)
