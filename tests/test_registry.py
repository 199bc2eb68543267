"""Models come out of a real MLflow store, in every way they are named; what goes in is shown as people look for it."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from agedetect.tracking.reading import MODEL_FOLDER, RegisteredModel, listed_faces, load_registered_model
from agedetect.tracking.registry import description_of, log_export
from agedetect.tracking.store import tracking_uri
from agedetect_runtime import ModelError
from export_source import SIZE, SMALL_BACKBONE, Store, draw_pixels, small_model, small_spec

pytest_plugins = ["export_store"]

METRICS = {"parity_worst_years": 2e-5, "parity_mean_years": 1e-5}
VERDICTS = {"onnx_parity": "passed: worst 2e-05 years on 9 images"}
REMEDY = "give images with --faces"


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Path:
    """A copy of the logged model's folder, as someone may pass it on."""
    copy = mlflow.artifacts.download_artifacts(store.model_uri, dst_path=str(tmp_path / "model"))
    return Path(copy)


def test_the_registered_model_loads_as_it_was_logged(registered: RegisteredModel, logged: Store) -> None:
    faces = draw_pixels(3, SIZE)
    np.testing.assert_array_equal(registered.predict_fn(faces).age, small_model().predict(faces).age)
    assert registered.spec == small_spec(logged.run_id)
    assert (registered.registered_name, registered.version) == ("agedetect", "1")
    assert registered.run_id == logged.run_id
    assert registered.tracked
    assert registered.name == "agedetect version 1"


@pytest.mark.parametrize("form", ["models:/agedetect/1", "runs:/{run}/model", "{logged}"])
def test_every_way_to_name_a_model_gives_the_same(store: Store, form: str) -> None:
    model = load_registered_model(form.format(run=store.run_id, logged=store.model_uri))
    assert model.spec == small_spec(store.run_id)
    assert model.run_id == store.run_id
    assert (model.version == "1") == form.startswith("models:/agedetect")


def test_a_folder_knows_its_run_only_where_the_store_does(folder: Path, store: Store, tmp_path: Path) -> None:
    assert load_registered_model(str(folder)).tracked
    assert load_registered_model(str(folder / MODEL_FOLDER)).run_id == store.run_id  # the three files by themselves
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    model = load_registered_model(str(folder))
    assert not model.tracked
    assert model.run_id == store.run_id
    with pytest.raises(ModelError, match=r"elsewhere\.db.*--faces"):
        listed_faces(model, "validation", REMEDY)
    assert not (tmp_path / "elsewhere.db").exists()


def test_mlflow_shows_the_model_with_its_signature_example_card_and_tags(store: Store) -> None:
    info = mlflow.models.get_model_info("models:/agedetect@candidate")
    assert info.signature is not None
    assert [str(item.name) for item in info.signature.outputs.inputs] == ["age", "low", "high", "probabilities"]
    assert info.saved_input_example_info is not None
    assert info.metadata is not None
    assert "agedetect" in info.metadata
    client = MlflowClient()
    version = client.get_model_version("agedetect", "1")
    assert version.description == client.get_registered_model("agedetect").description == small_spec().card
    assert version.tags["test_mae"] == "12.5000"
    assert version.tags["backbone"] == SMALL_BACKBONE


def test_mlflows_generic_loader_gives_the_same_ages(store: Store) -> None:
    faces = draw_pixels(3, SIZE)
    found = mlflow.pyfunc.load_model("models:/agedetect@candidate").predict(faces)
    wanted = small_model().predict(faces)
    assert found.keys() == {"age", "low", "high", "probabilities"}
    np.testing.assert_array_equal(found["age"], wanted.age)
    np.testing.assert_array_equal(found["probabilities"], wanted.probabilities)


def test_a_long_card_is_cut_at_a_section_and_says_where_the_rest_is() -> None:
    card = "# A model\n\n" + "".join(f"## Section {n}\n\n{'word ' * 100}\n\n" for n in range(30))
    text = description_of(card)
    assert len(text) <= 5000
    assert text.startswith("# A model\n\n## Section 0\n")
    body, _, note = text.rpartition("\n\n")
    assert card.startswith(body)
    assert card[len(body) :].lstrip().startswith("## Section")
    assert "model_card.md" in note
    assert description_of("# short\n") == "# short\n"


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
        load_registered_model(uri)
    assert str(caught.value).startswith(f"{uri}: not found in {store.uri}: ")
    assert "\n" not in str(caught.value)


def test_an_artifact_that_the_run_lacks_is_not_found(store: Store) -> None:
    with pytest.raises(ModelError, match="not found in sqlite"):
        load_registered_model(f"runs:/{store.run_id}/another")


@pytest.mark.parametrize("uri", ["models:/agedetect", "model:/agedetect@candidate", "/no/folder"])
def test_what_is_no_address_is_refused_with_the_forms(uri: str) -> None:
    with pytest.raises(ModelError, match="give models:/NAME@ALIAS"):
        load_registered_model(uri)


def test_a_missing_store_is_named_and_not_made(store: Store, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(ModelError, match=r"no MLflow store at sqlite.*MLFLOW_TRACKING_URI"):
        load_registered_model("models:/agedetect@candidate")
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_the_tracking_uri_is_not_shown(store: Store) -> None:
    mlflow.set_tracking_uri("http://ann:secret@example.org:5000/path")
    assert tracking_uri() == "http://example.org:5000/path"


@pytest.mark.parametrize("program", ["model.pt2", "model.pth"])
def test_a_program_of_an_earlier_version_is_refused_unopened(folder: Path, program: str) -> None:
    for path in sorted((folder / MODEL_FOLDER).iterdir()):
        path.unlink()
    (folder / "data" / program).write_bytes(b"anything")
    with pytest.raises(ModelError, match=rf"it holds a program \({program}\), .*: programs are not loaded; train it"):
        load_registered_model(str(folder))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json: No such file or directory; train it again"):
        load_registered_model(str(tmp_path))


def test_loading_leaves_the_environment_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", raising=False)
    load_registered_model("models:/agedetect/1")
    assert "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR" not in os.environ


def test_only_validation_faces_are_taken(registered: RegisteredModel, store: Store) -> None:
    found = listed_faces(registered, "validation", REMEDY)
    assert [path for path, _ in found] == store.validation
    assert [age for _, age in found] == [int(path.stem) * 3 + 1 for path in store.validation]


def test_a_run_without_a_usable_list_of_faces_says_so(
    registered: RegisteredModel, store: Store, tmp_path: Path
) -> None:
    with mlflow.start_run(experiment_id=MlflowClient().get_run(store.run_id).info.experiment_id) as run:
        pass
    bare = dataclasses.replace(registered, run_id=run.info.run_id)
    with pytest.raises(ModelError, match=r"splits\.csv: not found"):
        listed_faces(bare, "validation", REMEDY)
    (tmp_path / "splits.csv").write_text("split,path\nvalidation,a.png\n")
    MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "splits.csv"), "data")
    with pytest.raises(ModelError, match=r"lacks a column or a number: 'age'; give images with --faces"):
        listed_faces(bare, "validation", REMEDY)


def test_a_path_that_is_not_utf8_is_read_as_it_is_named(
    registered: RegisteredModel, store: Store, tmp_path: Path
) -> None:
    with mlflow.start_run(experiment_id=MlflowClient().get_run(store.run_id).info.experiment_id) as run:
        pass
    (tmp_path / "splits.csv").write_bytes(b"split,path,age\nvalidation,/faces/\xff.png,7\n")
    MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "splits.csv"), "data")
    other = dataclasses.replace(registered, run_id=run.info.run_id)
    assert listed_faces(other, "validation", REMEDY) == [(Path(os.fsdecode(b"/faces/\xff.png")), 7.0)]


def test_a_list_of_faces_that_is_no_table_says_so(registered: RegisteredModel, store: Store, tmp_path: Path) -> None:
    with mlflow.start_run(experiment_id=MlflowClient().get_run(store.run_id).info.experiment_id) as run:
        pass
    (tmp_path / "splits.csv").write_text("split,path,age\nvalidation," + "x" * 140_000 + ",7\n")
    MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "splits.csv"), "data")
    with pytest.raises(ModelError, match=r"splits\.csv can't be read: field larger .*; give images with --faces"):
        listed_faces(dataclasses.replace(registered, run_id=run.info.run_id), "validation", REMEDY)


def test_a_package_that_only_the_artifact_store_needs_is_named_as_such(
    registered: RegisteredModel, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    (tmp_path / "model.onnx").write_text("model")
    client = MlflowClient()
    run = client.create_run(client.create_experiment("bucket", artifact_location="s3://bucket/runs"))
    reason = r"its artifact store needs a package that is not installed: .*boto(3|core).*; install it"
    with pytest.raises(ModelError, match=reason):
        log_export(
            dataclasses.replace(registered, run_id=run.info.run_id), [tmp_path / "model.onnx"], METRICS, VERDICTS
        )
    client.create_registered_model("bucket")
    client.create_model_version("bucket", "s3://bucket/model")
    with pytest.raises(ModelError, match=reason):
        load_registered_model("models:/bucket/1")


def test_an_export_is_logged_to_its_run_and_version(registered: RegisteredModel, store: Store, tmp_path: Path) -> None:
    files = [tmp_path / "model.onnx", tmp_path / "model.parity.json"]
    for file in files:
        file.write_text(file.name)
    log_export(registered, files, METRICS, VERDICTS)
    client = MlflowClient()
    logged = {item.path for item in client.list_artifacts(store.run_id, "export")}
    assert {"export/model.onnx", "export/model.parity.json"} <= logged
    metrics = client.get_run(store.run_id).data.metrics
    assert metrics["export/parity_worst_years"] == 2e-5
    assert metrics["export/parity_mean_years"] == 1e-5
    tags = client.get_model_version("agedetect", "1").tags
    assert tags["onnx_parity"] == "passed: worst 2e-05 years on 9 images"


def test_an_export_that_cannot_be_logged_is_an_error(registered: RegisteredModel, store: Store) -> None:
    with pytest.raises(ModelError, match="run 0123: the export was not logged"):
        log_export(dataclasses.replace(registered, run_id="0123"), [], METRICS, VERDICTS)
