"""The real entry point on drawn faces: what a run leaves in MLflow."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agedetect_runtime.spec import METADATA_KEY, ModelSpec
from conftest import SMALL_RUN, options, program, run_command
from training_runs import artifacts, client_of, only_run, series


def test_every_promised_metric_is_logged_at_every_epoch(small_run: Path) -> None:
    found = series(small_run, only_run(small_run))
    for name in ("mae", "mse", "rmse", "r2", "within_5", "within_10", "loss"):
        assert [step for step, _ in found[f"validation/{name}"]] == [1, 2, 3, 4]
    assert {f"test/{name}" for name in ("mae", "mse", "rmse", "r2", "within_5", "within_10")} <= found.keys()
    # at the end of each epoch: the full phase has warmed up by the end of its first
    assert [value for _, value in found["train/learning_rate"]] == pytest.approx([1e-3, 1e-3, 1e-5, 1e-5])
    assert [value for _, value in found["train/phase"]] == [1, 1, 2, 2]
    assert found["validation/rmse"][0][1] == pytest.approx(found["validation/mse"][0][1] ** 0.5)


def test_the_run_holds_its_parameters_data_figures_and_predictions(small_run: Path) -> None:
    run = only_run(small_run)
    assert run.info.status == "FINISHED"
    assert run.data.params["model_name"] == "mobilenet_v2"
    assert run.data.params["head_epochs"] == "2"
    assert run.data.tags["agedetect.version"]
    fingerprint = run.data.tags["split_fingerprint"]
    assert run.inputs is not None
    inputs = run.inputs.dataset_inputs
    assert {item.dataset.digest for item in inputs} == {fingerprint}
    assert sorted(tag.value for item in inputs for tag in item.tags) == [
        "test",
        "train",
        "validation",
    ]
    expected = {f"figures/{name}.png" for name in ("curves", "residuals", "worst_errors")}
    expected |= {f"evaluation/{name}" for name in ("evaluation.html", "evaluation.json", "predictions.csv", "figures")}
    expected |= {"config.json", "data/splits.csv", "data/skipped.json", "model_card.md"}
    assert expected <= artifacts(small_run, run)
    assert any(name.startswith("system/") for name in run.data.metrics)


def test_the_test_metrics_are_those_of_the_logged_predictions(small_run: Path, tmp_path: Path) -> None:
    run = only_run(small_run)
    path = client_of(small_run).download_artifacts(run.info.run_id, "evaluation/predictions.csv", str(tmp_path))
    predictions, metrics = pd.read_csv(path), run.data.metrics
    error = (predictions["age"] - predictions["true"]).abs()
    assert error.mean() == pytest.approx(metrics["test/mae"])
    assert (error <= 5).mean() == pytest.approx(metrics["test/within_5"])
    inside = predictions["true"].between(predictions["low"], predictions["high"])
    assert inside.mean() == pytest.approx(metrics["test/coverage"])
    assert metrics["test/mae_low"] < metrics["test/mae"] < metrics["test/mae_high"]


def test_the_model_is_registered_as_candidate_and_describes_itself(small_run: Path) -> None:
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


def test_the_model_loads_without_our_code_or_pickle_for_any_batch_size(small_run: Path, tmp_path: Path) -> None:
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


def test_a_run_without_a_terminal_says_a_line_an_epoch_and_no_more(small_run: Path) -> None:
    lines = (small_run / "stderr.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == [
        f"epoch {number} ({part})" for number, part in ((1, "head"), (2, "head"), (3, "all"), (4, "all"))
    ]
    assert not [line for line in lines if "Warning" in line or "\r" in line], lines
    assert "models:/agedetect@candidate" in (small_run / "stdout.txt").read_text()


def test_the_same_command_gives_the_same_metrics_to_the_last_digit(
    small_run: Path, drawn_faces: Path, tmp_path: Path
) -> None:
    done = run_command([program("agedetect"), "train", "--data-dir", drawn_faces, *options(SMALL_RUN)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert series(tmp_path, only_run(tmp_path)) == series(small_run, only_run(small_run))


def test_two_processes_make_one_run_with_the_metrics_of_one_process(
    small_run: Path, drawn_faces: Path, tmp_path: Path
) -> None:
    torchrun = ["--standalone", "--nproc-per-node", "2", "-m", "agedetect", "train"]
    done = run_command([program("torchrun"), *torchrun, "--data-dir", drawn_faces, *options(SMALL_RUN)], tmp_path)
    assert done.returncode == 0, done.stderr
    together, alone = series(tmp_path, only_run(tmp_path)), series(small_run, only_run(small_run))
    assert together.keys() == alone.keys()
    for name in ("validation/mae", "test/mae", "train/loss"):
        ours, theirs = (np.array([value for _, value in found[name]]) for found in (together, alone))
        # 1e-3 years for an MAE; the loss is in years squared, some 400 here, and so is measured by its size
        assert np.abs(ours - theirs).max() < 1e-3 * (theirs.max() if name == "train/loss" else 1), name
