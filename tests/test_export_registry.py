"""Models come out of a real MLflow store, in every way they are named, and nothing in them is executed."""

import logging
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import pytest
import torch
import yaml
from mlflow import MlflowClient

from agedetect_export.registry import Source, load_source, log_export, tracking_uri, validation_faces
from agedetect_export.report import ParityReport
from agedetect_runtime import ModelError
from export_source import SIZE, SPEC, Store, TinyAges

pytest_plugins = ["export_store"]

REPORT = ParityReport(
    images=9,
    distinct=9,
    tolerance_years=1e-3,
    worst_years=2e-5,
    worst_image="a.png",
    mean_years=1e-5,
    batches=(),
    reference=None,
    unreadable=(),
    failures=(),
)


class Trap:
    """Unpickling it makes the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Path:
    """A copy of the logged model's folder, as someone may pass it on."""
    copy = mlflow.artifacts.download_artifacts(store.model_uri, dst_path=str(tmp_path / "model"))
    return Path(copy)


def test_the_registered_model_loads_as_it_was_logged(source: Source, logged: Store) -> None:
    faces = torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(source.program(faces), TinyAges()(faces), rtol=0, atol=1e-4)
    assert source.spec == SPEC
    assert (source.name, source.version, source.run_id) == ("agedetect", "1", logged.run_id)
    assert source.tracked
    assert source.label == "agedetect version 1"


@pytest.mark.parametrize("form", ["models:/agedetect/1", "runs:/{run}/model", "{logged}"])
def test_every_way_to_name_a_model_gives_the_same(store: Store, form: str) -> None:
    source = load_source(form.format(run=store.run_id, logged=store.model_uri))
    assert source.spec == SPEC
    assert source.run_id == store.run_id
    assert (source.version == "1") == form.startswith("models:/agedetect")


def test_a_folder_knows_its_run_only_where_the_store_does(folder: Path, store: Store, tmp_path: Path) -> None:
    assert load_source(str(folder)).tracked
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    source = load_source(str(folder))
    assert not source.tracked
    assert source.run_id == store.run_id
    with pytest.raises(ModelError, match=r"elsewhere\.db.*--faces"):
        validation_faces(source)
    assert not (tmp_path / "elsewhere.db").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "models:/agedetect@champion",
        "models:/agedetect/7",
        "models:/other@candidate",
        "models:/other/1",
        "models:/m-" + "0" * 32,
        "runs:/0123/model",
    ],
)
def test_what_mlflow_does_not_know_is_one_line_that_names_the_store(store: Store, uri: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_source(uri)
    assert str(caught.value).startswith(f"{uri}: not found in {store.uri}: ")
    assert "\n" not in str(caught.value)


def test_an_artifact_that_the_run_lacks_is_not_found(store: Store) -> None:
    with pytest.raises(ModelError, match="not found in sqlite"):
        load_source(f"runs:/{store.run_id}/another")


@pytest.mark.parametrize("uri", ["models:/agedetect", "model:/agedetect@candidate", "/no/folder"])
def test_what_is_no_source_is_refused_with_the_forms(uri: str) -> None:
    with pytest.raises(ModelError, match="give models:/NAME@ALIAS"):
        load_source(uri)


def test_a_missing_store_is_named_and_not_made(store: Store, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(ModelError, match=r"no MLflow store at sqlite.*MLFLOW_TRACKING_URI"):
        load_source("models:/agedetect@candidate")
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_the_tracking_uri_is_not_shown(store: Store) -> None:
    mlflow.set_tracking_uri("http://ann:secret@example.org:5000/path")
    assert tracking_uri() == "http://example.org:5000/path"


def test_a_model_that_is_not_ours_is_refused(folder: Path) -> None:
    change(folder, lambda model: model.pop("metadata"))
    with pytest.raises(ModelError, match="no 'agedetect' metadata"):
        load_source(str(folder))


def test_a_spec_of_another_schema_is_refused(folder: Path) -> None:
    change(folder, lambda model: model["metadata"].update(agedetect='{"schema": 99}'))
    with pytest.raises(ModelError, match="schema 99 is unknown"):
        load_source(str(folder))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not an MLflow model"):
        load_source(str(tmp_path))


def test_a_pickled_model_is_refused_and_not_executed(folder: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (folder / "data" / "model.pt2").unlink()
    (folder / "data" / "pickle_module_info.txt").write_text("pickle")
    torch.save(Trap(sprung), folder / "data" / "model.pth")
    with pytest.raises(ModelError, match="pickled models are refused"):
        load_source(str(folder))
    assert not sprung.exists()
    # The trap is real: MLflow left to itself walks into it.
    with pytest.raises(AttributeError):  # what comes out of it is no network
        mlflow.pytorch.load_model(str(folder))
    assert sprung.exists()


def test_a_pickle_beside_the_graph_is_refused_and_not_executed(folder: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save(Trap(sprung), folder / "data" / "model.pth")
    with pytest.raises(ModelError, match="pickled models are refused"):
        load_source(str(folder))
    assert not sprung.exists()


def test_a_pickle_inside_the_graph_is_refused_and_not_executed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprung, graph = tmp_path / "sprung", folder / "data" / "model.pt2"
    torch.save(Trap(sprung), tmp_path / "trap.pt")
    with zipfile.ZipFile(graph) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    inputs = [name for name in records if "sample_inputs" in name]
    assert inputs, "torch.export keeps pickled example inputs in the archive"
    with zipfile.ZipFile(graph, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, (tmp_path / "trap.pt").read_bytes() if name in inputs else content)
    with pytest.raises(ModelError, match="its program was not loaded"):
        load_source(str(folder))
    assert not sprung.exists()
    # The trap is real: torch left to itself walks into it, and then fails, in its own log call or after it.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with pytest.raises((AssertionError, TypeError)):
        torch.export.load(graph)
    assert sprung.exists()


def test_code_that_a_model_carries_is_not_imported(folder: Path) -> None:
    change(folder, lambda model: model["flavors"]["pytorch"].update(code="code"))
    with pytest.raises(ModelError, match="carries Python code"):
        load_source(str(folder))


def test_a_damaged_graph_is_refused(folder: Path) -> None:
    graph = folder / "data" / "model.pt2"
    graph.write_bytes(graph.read_bytes()[:500])
    with pytest.raises(ModelError, match="its program was not loaded"):
        load_source(str(folder))


def test_loading_leaves_the_environment_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    monkeypatch.delenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", raising=False)
    load_source("models:/agedetect/1")
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "true"
    assert "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR" not in os.environ


def test_only_validation_faces_are_taken(source: Source, store: Store) -> None:
    found = validation_faces(source)
    assert [path for path, _ in found] == store.validation
    assert [age for _, age in found] == [int(path.stem) * 3 + 1 for path in store.validation]


def test_a_run_without_a_usable_list_of_faces_says_so(source: Source, store: Store, tmp_path: Path) -> None:
    with mlflow.start_run(experiment_id=MlflowClient().get_run(store.run_id).info.experiment_id) as run:
        pass
    bare = Source(**{**vars(source), "run_id": run.info.run_id})
    with pytest.raises(ModelError, match=r"splits\.csv: not found"):
        validation_faces(bare)
    (tmp_path / "splits.csv").write_text("side,path\nvalidation,a.png\n")
    MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "splits.csv"), "data")
    with pytest.raises(ModelError, match=r"lacks a column or a number: 'age'; give images with --faces"):
        validation_faces(bare)


def test_a_path_that_is_not_utf8_is_read_as_it_is_named(source: Source, store: Store, tmp_path: Path) -> None:
    with mlflow.start_run(experiment_id=MlflowClient().get_run(store.run_id).info.experiment_id) as run:
        pass
    (tmp_path / "splits.csv").write_bytes(b"side,path,age\nvalidation,/faces/\xff.png,7\n")
    MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "splits.csv"), "data")
    other = Source(**{**vars(source), "run_id": run.info.run_id})
    assert validation_faces(other) == [(Path(os.fsdecode(b"/faces/\xff.png")), 7.0)]


def test_a_list_of_faces_that_is_no_table_says_so(source: Source, store: Store, tmp_path: Path) -> None:
    with mlflow.start_run(experiment_id=MlflowClient().get_run(store.run_id).info.experiment_id) as run:
        pass
    (tmp_path / "splits.csv").write_text("side,path,age\nvalidation," + "x" * 140_000 + ",7\n")
    MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "splits.csv"), "data")
    with pytest.raises(ModelError, match=r"splits\.csv can't be read: field larger .*; give images with --faces"):
        validation_faces(Source(**{**vars(source), "run_id": run.info.run_id}))


def test_a_package_that_only_the_artifact_store_needs_is_named_as_such(
    source: Source, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    (tmp_path / "model.onnx").write_text("model")
    client = MlflowClient()
    run = client.create_run(client.create_experiment("bucket", artifact_location="s3://bucket/runs"))
    reason = r"its artifact store needs a package that is not installed: .*boto(3|core).*; install it"
    with pytest.raises(ModelError, match=reason):
        log_export(Source(**{**vars(source), "run_id": run.info.run_id}), [tmp_path / "model.onnx"], REPORT)
    client.create_registered_model("bucket")
    client.create_model_version("bucket", "s3://bucket/model")
    with pytest.raises(ModelError, match=reason):
        load_source("models:/bucket/1")


def test_an_export_is_logged_to_its_run_and_version(source: Source, store: Store, tmp_path: Path) -> None:
    files = [tmp_path / "model.onnx", tmp_path / "model.parity.json"]
    for file in files:
        file.write_text(file.name)
    log_export(source, files, REPORT)
    client = MlflowClient()
    logged = {item.path for item in client.list_artifacts(store.run_id, "export")}
    assert {"export/model.onnx", "export/model.parity.json"} <= logged
    metrics = client.get_run(store.run_id).data.metrics
    assert metrics["parity_worst_years"] == 2e-5
    assert metrics["parity_mean_years"] == 1e-5
    tags = client.get_model_version("agedetect", "1").tags
    assert tags["onnx_parity"] == "passed: worst 2e-05 years on 9 images"


def test_an_export_that_cannot_be_logged_is_an_error(source: Source, store: Store) -> None:
    with pytest.raises(ModelError, match="run 0123: the export was not logged"):
        log_export(Source(**{**vars(source), "run_id": "0123"}), [], REPORT)


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the folder's MLmodel."""
    path = folder / "MLmodel"
    model = yaml.safe_load(path.read_text())
    edit(model)
    path.write_text(yaml.safe_dump(model))
