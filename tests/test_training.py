"""The real entry point on drawn faces: what a run leaves in MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from agedetect.tracking.checkpoints import Checkpoint
from agedetect.tracking.reading import load_registered_model
from agedetect_runtime.spec import METADATA_KEY, ModelSpec
from conftest import SMALL_RUN, options, program, run_command
from export_source import draw_pixels
from export_store import tracking
from training_runs import artifacts, client_of, only_run, series

pytestmark = pytest.mark.slow  # all look at a whole training


def test_every_promised_metric_is_logged_at_every_epoch(small_run: Path) -> None:
    found = series(small_run, only_run(small_run))
    for name in ("mae", "mse", "rmse", "r2", "within_5", "within_10", "loss"):
        assert [step for step, _ in found[f"validation/{name}"]] == [1, 2, 3, 4]
    assert {f"test/{name}" for name in ("mae", "mse", "rmse", "r2", "within_5", "within_10")} <= found.keys()
    # of each epoch's last step: the fine-tuning phase has warmed up by the end of its first, and nearly decayed by that
    # of its second, of eight steps
    last = 1e-5 * 0.5 * (1 + np.cos(np.pi * 7 / 8))
    assert [value for _, value in found["train/learning_rate"]] == pytest.approx([1e-3, 1e-3, 1e-5, last])
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
    expected = {f"evaluation/{name}" for name in ("evaluation.html", "evaluation.json", "predictions.csv", "figures")}
    expected |= {"figures/curves.png", "config.json", "data/splits.csv", "data/skipped.json", "model_card.md"}
    assert expected <= artifacts(small_run, run)
    assert any(name.startswith("system/") for name in run.data.metrics)


def test_the_run_holds_the_values_that_auto_stands_for(small_run: Path, tmp_path: Path) -> None:
    run = only_run(small_run)
    assert "auto" not in run.data.params.values()
    expected = {"start": "scratch", "loss": "dldl_v2", "head_epochs": "2", "device": "cpu", "precision": "float32"}
    assert {name: run.data.params[name] for name in expected} == expected
    stored = client_of(small_run).download_artifacts(run.info.run_id, "config.json", str(tmp_path))
    assert "auto" not in json.loads(Path(stored).read_text()).values()  # with these a run is resumed
    (line,) = [line for line in (small_run / "stderr.txt").read_text().splitlines() if line.startswith("start=")]
    assert line.startswith("start=scratch (weights=none): head_epochs=2, finetune_learning_rate=1e-05, warmup_epochs=1")


def test_the_last_epoch_of_a_cosine_is_what_is_registered(small_run: Path, tmp_path: Path) -> None:
    run = only_run(small_run)
    assert "checkpoint/best.pt" not in artifacts(small_run, run)
    path = client_of(small_run).download_artifacts(run.info.run_id, "checkpoint/even.pt", str(tmp_path))
    last = Checkpoint.load(Path(path))
    assert last.snapshot.epoch == 4
    with tracking(f"sqlite:///{small_run / 'mlflow.db'}"):
        registered = load_registered_model("models:/agedetect@candidate").network.model.state_dict()
    assert all(torch.equal(value, registered[name]) for name, value in last.snapshot.evaluated.items())


def test_the_test_metrics_are_those_of_the_logged_predictions(small_run: Path, tmp_path: Path) -> None:
    run = only_run(small_run)
    path = client_of(small_run).download_artifacts(run.info.run_id, "evaluation/predictions.csv", str(tmp_path))
    predictions, metrics = pd.read_csv(path), run.data.metrics
    error = (predictions["age"] - predictions["true"]).abs()
    assert error.mean() == pytest.approx(metrics["test/mae"])
    assert (error <= 5).mean() == pytest.approx(metrics["test/within_5"])
    inside = predictions["true"].between(predictions["low"], predictions["high"])
    assert inside.mean() == pytest.approx(metrics["test/coverage"])


def test_the_model_is_registered_as_candidate_and_describes_itself(small_run: Path) -> None:
    client, run = client_of(small_run), only_run(small_run)
    version = client.get_model_version_by_alias("agedetect", "candidate")
    assert version.current_stage in (None, "None")
    assert float(version.tags["test_mae"]) == pytest.approx(run.data.metrics["test/mae"], abs=1e-4)
    assert version.tags["backbone"] == "mobilenet_v2"
    assert version.tags["data_fingerprint"] == run.data.tags["split_fingerprint"]
    assert "non-commercial" in version.tags["data_licence"]


def test_the_registered_model_gives_ages_for_any_batch_size(small_run: Path) -> None:
    with tracking(f"sqlite:///{small_run / 'mlflow.db'}"):
        model = mlflow.pyfunc.load_model("models:/agedetect@candidate")
    faces = draw_pixels(7, 32)
    batched, single = model.predict(faces), [model.predict(face[None]) for face in faces]
    for name, values in batched.items():
        # float32 sums of another order: 1e-5 years; a batch norm in training mode would be off by years
        np.testing.assert_allclose(np.concatenate([one[name] for one in single]), values, rtol=0, atol=1e-4)
    assert (batched["low"] <= batched["age"]).all()
    assert (batched["age"] <= batched["high"]).all()
    np.testing.assert_allclose(batched["probabilities"] @ np.arange(117), batched["age"], rtol=0, atol=1e-4)
    spec = ModelSpec.from_json(model.metadata.metadata[METADATA_KEY])
    assert (spec.image_size, spec.resampling, spec.backbone) == (32, "bilinear", "mobilenet_v2")
    assert (spec.coverage, spec.head) == (0.9, "distribution")
    assert spec.provenance["split"] == {"protocol": "holdout", "seed": 0, "fold": 0}
    assert "(-1, 32, 32, 3)" in str(model.metadata.signature)


def test_a_run_without_a_terminal_says_a_line_an_epoch_and_no_more(small_run: Path) -> None:
    lines = (small_run / "stderr.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == [
        f"epoch {number} ({part})" for number, part in ((1, "head"), (2, "head"), (3, "all"), (4, "all"))
    ]
    assert not [line for line in lines if "Warning" in line or "\r" in line], lines
    assert "models:/agedetect@candidate" in (small_run / "stdout.txt").read_text()


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
