"""The real entry point on drawn faces: what a run leaves in MLflow, and what a stop leaves to resume."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from agedetect_runtime.spec import METADATA_KEY, ModelSpec
from conftest import SMALL_RUN, command_environment, listen_to_ctrl_c, options, program, run_command


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def only_run(folder: Path) -> Run:
    client = client_of(folder)
    experiment = client.get_experiment_by_name("agedetect")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def series(folder: Path, run: Run) -> dict[str, list[tuple[int, float]]]:
    """Every metric's (step, value), without the clock's and the system's."""
    client = client_of(folder)
    names = [name for name in run.data.metrics if not name.startswith("system/") and "per_second" not in name]
    return {
        name: sorted({(item.step, item.value) for item in client.get_metric_history(run.info.run_id, name)})
        for name in names
    }


def artifacts(folder: Path, run: Run) -> set[str]:
    client = client_of(folder)
    roots = [item.path for item in client.list_artifacts(run.info.run_id)]
    below = [item.path for root in roots for item in client.list_artifacts(run.info.run_id, root)]
    return {*roots, *below}


def test_every_promised_metric_is_logged_at_every_epoch(small_run):
    found = series(small_run, only_run(small_run))
    for name in ("mae", "mse", "rmse", "r2", "within_5", "within_10", "loss"):
        assert [step for step, _ in found[f"validation/{name}"]] == [1, 2, 3, 4]
    assert {f"test/{name}" for name in ("mae", "mse", "rmse", "r2", "within_5", "within_10")} <= found.keys()
    # at the end of each epoch: the full phase has warmed up by the end of its first
    assert [value for _, value in found["train/learning_rate"]] == pytest.approx([1e-3, 1e-3, 1e-5, 1e-5])
    assert [value for _, value in found["train/phase"]] == [1, 1, 2, 2]
    assert found["validation/rmse"][0][1] == pytest.approx(found["validation/mse"][0][1] ** 0.5)


def test_the_run_holds_its_parameters_data_figures_and_predictions(small_run):
    run = only_run(small_run)
    assert run.info.status == "FINISHED"
    assert run.data.params["model_name"] == "mobilenet_v2"
    assert run.data.params["head_epochs"] == "2"
    assert run.data.tags["agedetect.version"]
    fingerprint = run.data.tags["split_fingerprint"]
    assert {item.dataset.digest for item in run.inputs.dataset_inputs} == {fingerprint}
    assert sorted(tag.value for item in run.inputs.dataset_inputs for tag in item.tags) == [
        "test",
        "train",
        "validation",
    ]
    expected = {f"figures/{name}.png" for name in ("curves", "residuals", "worst_errors")}
    expected |= {f"evaluation/{name}" for name in ("evaluation.html", "evaluation.json", "predictions.csv", "figures")}
    expected |= {"config.json", "data/splits.csv", "data/skipped.json", "model_card.md"}
    assert expected <= artifacts(small_run, run)
    assert any(name.startswith("system/") for name in run.data.metrics)


def test_the_test_metrics_are_those_of_the_logged_predictions(small_run, tmp_path):
    run = only_run(small_run)
    path = client_of(small_run).download_artifacts(run.info.run_id, "evaluation/predictions.csv", str(tmp_path))
    predictions, metrics = pd.read_csv(path), run.data.metrics
    error = (predictions["age"] - predictions["true"]).abs()
    assert error.mean() == pytest.approx(metrics["test/mae"])
    assert (error <= 5).mean() == pytest.approx(metrics["test/within_5"])
    inside = predictions["true"].between(predictions["low"], predictions["high"])
    assert inside.mean() == pytest.approx(metrics["test/coverage"])
    assert metrics["test/mae_low"] < metrics["test/mae"] < metrics["test/mae_high"]


def test_the_model_is_registered_as_candidate_and_describes_itself(small_run):
    client, run = client_of(small_run), only_run(small_run)
    version = client.get_model_version_by_alias("agedetect", "candidate")
    assert version.current_stage in (None, "None")
    assert float(version.tags["test_mae"]) == pytest.approx(run.data.metrics["test/mae"], abs=1e-4)
    assert version.tags["backbone"] == "mobilenet_v2"
    assert version.tags["data_fingerprint"] == run.data.tags["split_fingerprint"]
    assert "non-commercial" in version.tags["data_licence"]


LOAD = """
import json, sys
import mlflow, torch
assert not [name for name in sys.modules if name.startswith("agedetect")]
model = mlflow.pytorch.load_model("models:/agedetect@candidate")
info = mlflow.models.get_model_info("models:/agedetect@candidate")
faces = torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
batched = model(faces).flatten().tolist()
single = [value for face in faces for value in model(face[None]).flatten().tolist()]
served = mlflow.pyfunc.load_model("models:/agedetect@candidate").predict(faces.numpy()).flatten().tolist()
loaded = [name for name in sys.modules if name.startswith("agedetect")]
print(json.dumps([batched, single, served, info.metadata, loaded, str(info.signature)]))
"""


def test_the_model_loads_without_our_code_or_pickle_for_any_batch_size(small_run, tmp_path):
    done = run_command(
        # -P and another folder: nothing of this checkout is on the path but what is installed, and that is not imported
        [sys.executable, "-P", "-c", LOAD],
        tmp_path,
        MLFLOW_TRACKING_URI=f"sqlite:///{small_run / 'mlflow.db'}",
        MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false",
    )
    assert done.returncode == 0, done.stderr
    batched, single, served, metadata, ours, signature = json.loads(done.stdout.splitlines()[-1])
    assert ours == []
    assert batched == pytest.approx(single, abs=1e-4)
    assert served == pytest.approx(batched, abs=1e-6)
    age, low, high, *probabilities = batched[:120]
    assert low <= age <= high
    assert len(probabilities) == 117
    assert age == pytest.approx(sum(year * share for year, share in enumerate(probabilities)), abs=1e-4)
    spec = ModelSpec.from_json(metadata[METADATA_KEY])
    assert (spec.image_size, spec.resampling, spec.backbone) == (32, "bilinear", "mobilenet_v2")
    assert (spec.coverage, spec.head) == (0.9, "distribution")
    assert spec.provenance["split"] == {"protocol": "holdout", "seed": 0, "fold": 0}
    assert "(-1, 32, 32, 3)" in signature


def test_a_run_without_a_terminal_says_a_line_an_epoch_and_no_more(small_run):
    lines = (small_run / "stderr.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == [
        f"epoch {number} ({part})" for number, part in ((1, "head"), (2, "head"), (3, "all"), (4, "all"))
    ]
    assert not [line for line in lines if "Warning" in line or "\r" in line], lines
    assert "models:/agedetect@candidate" in (small_run / "stdout.txt").read_text()


def test_the_same_command_gives_the_same_metrics_to_the_last_digit(small_run, drawn_faces, tmp_path):
    done = run_command([program("agedetect"), "train", "--data-dir", drawn_faces, *options(SMALL_RUN)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert series(tmp_path, only_run(tmp_path)) == series(small_run, only_run(small_run))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_killed_and_resumes_to_the_uninterrupted_metrics(small_run, drawn_faces, tmp_path, stop):
    command = [program("agedetect"), "train", "--data-dir", drawn_faces, *options(SMALL_RUN)]
    message = stop_after("epoch 2", [str(part) for part in command], tmp_path, stop)
    run = only_run(tmp_path)
    assert run.info.status == "KILLED"
    assert f"agedetect train --resume {run.info.run_id}" in message
    assert "Traceback" not in message
    assert "checkpoint/best.pt" in artifacts(tmp_path, run)
    again = stop_after("run ", [str(program("agedetect")), "train", "--resume", run.info.run_id], tmp_path, stop)
    assert f"agedetect train --resume {run.info.run_id}" in again  # a second stop, before another epoch is done
    done = run_command([program("agedetect"), "train", "--resume", run.info.run_id], tmp_path)
    assert done.returncode == 0, done.stderr
    finished = only_run(tmp_path)
    assert finished.info.status == "FINISHED"
    assert series(tmp_path, finished) == series(small_run, only_run(small_run))


def stop_after(sign: str, command: list[str], folder: Path, stop: signal.Signals) -> str:
    """Starts the command, sends `stop` once a line begins with `sign`, and returns what it wrote to stderr."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=command_environment(folder),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )
    assert process.stderr is not None
    written = []
    for line in process.stderr:
        written.append(line)
        if line.startswith(sign):
            time.sleep(0.2)
            os.kill(process.pid, stop)
    assert process.wait(60) == 130, "".join(written)
    return "".join(written)


def test_two_processes_make_one_run_with_the_metrics_of_one_process(small_run, drawn_faces, tmp_path):
    torchrun = [program("torchrun"), "--standalone", "--nproc-per-node", "2", "-m", "agedetect", "train"]
    done = run_command([*torchrun, "--data-dir", drawn_faces, *options(SMALL_RUN)], tmp_path)
    assert done.returncode == 0, done.stderr
    together, alone = series(tmp_path, only_run(tmp_path)), series(small_run, only_run(small_run))
    assert together.keys() == alone.keys()
    for name in ("validation/mae", "test/mae", "train/loss"):
        ours, theirs = (np.array([value for _, value in found[name]]) for found in (together, alone))
        # 1e-3 years for an MAE; the loss is in years squared, some 400 here, and so is measured by its size
        assert np.abs(ours - theirs).max() < 1e-3 * (theirs.max() if name == "train/loss" else 1), name


def test_the_folds_of_a_protocol_are_children_of_one_run_with_their_mean(drawn_faces, tmp_path):
    shortest = {**SMALL_RUN, "epochs": 1, "head_epochs": 1, "protocol": "folds5"}
    done = run_command([program("agedetect"), "train", "--data-dir", drawn_faces, *options(shortest)], tmp_path)
    assert done.returncode == 0, done.stderr
    client = client_of(tmp_path)
    runs = client.search_runs([client.get_experiment_by_name("agedetect").experiment_id])
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
    resumed = run_command([program("agedetect"), "train", "--resume", parent.info.run_id], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == done.stdout
    assert resumed.stderr.count("epoch 1 ") == 1
    begun = client.search_runs([parent.info.experiment_id], "params.fold = '3'")
    assert sorted(run.info.status for run in begun) == ["FINISHED", "KILLED"]
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    again = run_command([program("agedetect"), "train", "--resume", parent.info.run_id], tmp_path)
    assert (again.returncode, "it is finished" in again.stderr) == (1, True)


def test_a_run_does_not_resume_on_other_faces(drawn_faces, tmp_path):
    faces = tmp_path / "faces"
    shutil.copytree(drawn_faces, faces)
    command = [program("agedetect"), "train", "--data-dir", "faces", *options({**SMALL_RUN, "epochs": 3})]
    stop_after("epoch 1", [str(part) for part in command], tmp_path, signal.SIGINT)
    next(faces.iterdir()).unlink()
    done = run_command([program("agedetect"), "train", "--resume", only_run(tmp_path).info.run_id], tmp_path)
    assert done.returncode == 1
    assert "it was trained on the split" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--data-dir", "nowhere"], 1, "nowhere"),
        (["--model-name", "vgg"], 2, "resnet50"),
        (["--head-epochs", "9", "--epochs", "2"], 2, "head_epochs=9 is more than epochs=2"),
        (["--device", "cuda", "--weights", "none"], 1, "no CUDA device"),
        (["--resume", "0" * 32], 1, "no training run of that id"),
        (["--resume", "0" * 32, "--epochs", "3"], 2, "omit epochs"),
    ],
)
def test_a_call_that_cannot_work_says_why_in_one_line(arguments, status, words, tmp_path):
    done = run_command([program("agedetect"), "train", *arguments], tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    errors = re.findall(r"^Error: .*$", done.stderr, re.MULTILINE)
    assert len(errors) == 1, done.stderr
