"""What a person types in a notebook: each step uses what the step before it gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from agedetect import TrainConfig, compare, evaluate, export, load_model, read_faces, train
from agedetect.data.faces import FaceSet
from agedetect.data.splits import split_faces
from agedetect.errors import ConfigError, DataError, RunError
from agedetect.training.train import TrainedRun
from agedetect_runtime import AgedetectError, AgeEstimator, ModelError
from export_source import small_model

# The head alone, on features that are computed once: seconds.
CONFIG = TrainConfig(
    model_name="mobilenet_v2",
    image_size=32,
    batch_size=16,
    epochs=2,
    head_epochs=2,
    learning_rate=1e-2,
    loss="soft_labels",  # with dldl_v2 these huge features give ages that float32 rounds by more than parity's 0.001
    workers=0,
    device="cpu",
)


@pytest.fixture(scope="module")
def faces(drawn_faces: Path) -> FaceSet:
    return read_faces(str(drawn_faces))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An MLflow store in a folder that is the working directory, as a notebook's is."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        yield folder
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def config(store: Path) -> TrainConfig:
    """With a file of weights whose features differ from face to face, which those of an untrained network don't."""
    torch.save(small_model(backbone="mobilenet_v2").model.backbone.state_dict(), store / "backbone.pth")
    return dataclasses.replace(CONFIG, weights=str(store / "backbone.pth"))


@pytest.fixture(scope="module")
def run(faces: FaceSet, config: TrainConfig) -> TrainedRun:
    return train(faces, config)


def test_a_run_gives_its_model_metrics_and_history(run: TrainedRun, faces: FaceSet) -> None:
    assert run.model.uri == "models:/agedetect@candidate"
    assert len(run.history) == 2
    assert run.metrics["mae"] > 0
    found = MlflowClient().get_run(str(run.run_id))
    assert found.data.params["data_dir"] == faces.source
    assert found.info.run_name == f"mobilenet_v2, 32 px, test MAE {run.metrics['mae']:.2f}"
    test = {name for name in found.data.metrics if name.startswith("test/")}
    assert test == {f"test/{name}" for name in run.metrics}
    assert len(test) <= 12  # charts that a person compares; groups and gates are in the report


def test_evaluating_the_runs_model_gives_the_runs_own_figures(run: TrainedRun, faces: FaceSet, tmp_path: Path) -> None:
    report = evaluate(run.model, faces)
    # in batches of another size, float32: the digits that differ are those beyond parity's
    assert report.metrics == pytest.approx(run.metrics, abs=1e-3)
    assert report.result.context.split == "test"
    assert f"{report.result.n} faces" in str(report)
    assert "<table" in report._repr_html_()
    assert report.to_frame()["mae"].iloc[0] == report.metrics["mae"]
    assert tmp_path / "evaluation.html" in report.save(tmp_path)


def test_a_model_is_loaded_from_whatever_names_it(run: TrainedRun) -> None:
    model = load_model(run.model)
    assert load_model("models:/agedetect/1").spec == model.spec
    assert load_model(model) is model
    assert model.spec.card.startswith("# agedetect: ")


@pytest.mark.slow
def test_export_needs_no_option_and_returns_its_parity(run: TrainedRun, faces: FaceSet, tmp_path: Path) -> None:
    report = export(run.model, tmp_path / "age.onnx")
    assert report.passed
    assert report.images >= 8
    test = split_faces(faces.faces).test
    exported = AgeEstimator(tmp_path / "age.onnx", device="cpu").predict(test[0].path)
    # float32 torch against ONNX Runtime, the exporter's own tolerance
    assert exported.age == pytest.approx(load_model(run.model).predict(test[:1]).age[0], abs=1e-3)
    with pytest.raises(AgedetectError, match=r"age\.onnx exists; give another output"):
        export(run.model, tmp_path / "age.onnx")
    with pytest.raises(ModelError, match="it is an exported file"):
        export(tmp_path / "age.onnx", tmp_path / "again.onnx")
    comparison = compare(run.model, tmp_path / "age.onnx", faces)
    assert comparison.result.overall.advantage.value == pytest.approx(0, abs=1e-3)
    assert "no significant difference" in comparison.verdict


@pytest.mark.slow
def test_a_protocol_trains_all_of_its_folds_and_registers_none(
    run: TrainedRun, faces: FaceSet, config: TrainConfig
) -> None:
    folds = train(faces, dataclasses.replace(config, protocol="folds5", epochs=1, head_epochs=1))
    assert len(folds.folds) == 5
    assert folds.metrics["mae"] == pytest.approx(sum(fold["mae"] for fold in folds.folds) / 5)
    assert len({fold["mae"] for fold in folds.folds}) == 5
    with pytest.raises(RunError, match="this run gives no model"):
        evaluate(folds.model, faces)
    client = MlflowClient()
    assert [str(item.version) for item in client.search_model_versions("name='agedetect'")] == ["1"]
    parent = client.get_run(str(folds.run_id))
    assert parent.info.run_name == f"mobilenet_v2, 32 px, test MAE {folds.metrics['mae']:.2f} over 5 folds"
    children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{folds.run_id}'")
    assert sorted(str(child.info.run_name).split(",")[0] for child in children) == [f"fold {n}" for n in range(5)]


def test_what_contradicts_itself_is_refused(faces: FaceSet) -> None:
    with pytest.raises(ConfigError, match="resume takes the settings of its run"):
        train(config=CONFIG, resume="0" * 32)
    with pytest.raises(DataError, match="split 'training' is none of auto, test, validation, all"):
        evaluate("models:/agedetect@candidate", faces, split="training")
