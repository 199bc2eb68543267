"""The exported model in MLflow's registry: what it takes and answers, what it says of itself, what it carries."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import onnx
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from PIL import Image

from agedetect.tracking.exported import register_export
from agedetect.tracking.reading import load_registered_model
from agedetect_export.cli import main as export
from agedetect_runtime import AgeEstimator, ModelError
from agedetect_runtime.cli import main as infer
from agedetect_runtime.pyfunc import CONFIG, DETECTOR, _load_pyfunc, decoded
from export_source import Store
from export_store import tracking
from registered_pictures import NAME, URI, own_store, register_pictures, write_licensed_model
from tiny_detector import draw, write_tiny_detector

Table = dict[str, list[Any]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return own_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_licensed_model(tmp_path_factory.mktemp("exported") / "age.onnx")


@pytest.fixture
def another_file(file: Path, tmp_path: Path) -> Path:
    """Whose digest is its own."""
    model = onnx.load(file)
    model.producer_name = tmp_path.name
    onnx.save(model, tmp_path / "age.onnx")
    return tmp_path / "age.onnx"


@pytest.fixture(scope="module")
def folder(logged: Store, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registered model as MLflow gives it to whoever serves it."""
    with tracking(logged.uri), pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGEDETECT_CACHE", str(tmp_path_factory.mktemp("no detector")))
        assert register_pictures(file).uri == f"models:/{NAME}/1"
        return Path(mlflow.artifacts.download_artifacts(URI, dst_path=str(tmp_path_factory.mktemp("model"))))


@pytest.fixture
def store(logged: Store, folder: Path) -> Iterator[Store]:
    with tracking(logged.uri):
        yield logged


def answers(model: PyFuncModel, *images: object, **params: object) -> Table:
    table = model.predict(pd.DataFrame({"image": list(images)}, dtype=object), params=params or None)
    assert isinstance(table, pd.DataFrame)
    return {str(name): values.tolist() for name, values in table.items()}


def test_paths_bytes_and_base64_get_the_answers_of_agedetect_infer(store: Store, file: Path) -> None:
    paths = store.validation
    done = CliRunner().invoke(infer, [*map(str, paths), "--onnx", str(file), "--at-least", "60", "--device", "cpu"])
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["file"] for row in rows] == [str(path) for path in paths]
    wanted = {name: [float(row[name]) for row in rows] for name in ("age", "low", "high", "at_least_60")}
    assert len(set(wanted["at_least_60"])) > 3
    model = mlflow.pyfunc.load_model(URI)
    encoded = [path.read_bytes() for path in paths]
    in_base64 = [base64.b64encode(data).decode() for data in encoded]
    for images in (map(str, paths), encoded, in_base64, [f"data:image/png;base64,{text}" for text in in_base64]):
        assert answers(model, *images, at_least=60) == {**wanted, "error": [None] * len(paths)}


def test_a_bad_picture_is_a_row_with_its_reason_and_json_stays_json(store: Store, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(store.validation[0].read_bytes()[:200])
    images = [str(store.validation[0]), "nowhere.jpg", str(damaged), None, b"", "data:image/png;base64,rubbish"]
    table = answers(mlflow.pyfunc.load_model(URI), *images)
    assert table["error"] == [
        None,
        "no such file",
        "truncated",
        "no image: an empty cell",
        "empty file",
        "damaged base64",
    ]
    assert table["age"][1:] == table["low"][1:] == table["high"][1:] == [None] * 5
    json.dumps(table, allow_nan=False)


def test_an_empty_table_has_the_same_columns(store: Store) -> None:
    assert answers(mlflow.pyfunc.load_model(URI)) == {"age": [], "low": [], "high": [], "error": []}


@pytest.mark.parametrize(
    ("params", "reason"),
    [({"at_least": 150}, "ages from 0 to 116 only"), ({"at_least": "eighteen"}, "at_least")],
)
def test_an_age_that_it_cannot_tell_is_refused(store: Store, params: dict[str, object], reason: str) -> None:
    with pytest.raises((ModelError, MlflowException), match=reason):
        answers(mlflow.pyfunc.load_model(URI), str(store.validation[0]), **params)


def test_the_largest_face_of_a_photo(folder: Path, tmp_path: Path) -> None:
    """With the detector that lies beside the model: red squares on black are its faces."""
    copy = tmp_path / "exported"
    shutil.copytree(folder / "data" / "exported", copy)
    write_tiny_detector(copy / DETECTOR)
    photo, nothing = tmp_path / "photo.png", tmp_path / "nothing.png"
    draw((480, 192), [(320, 32, 16), (32, 32, 32)]).save(photo)
    Image.new("RGB", (200, 200)).save(nothing)
    model = _load_pyfunc(str(copy), {**CONFIG, "device": "cpu"})
    table = model.predict(pd.DataFrame({"image": [str(photo), str(nothing)]}), {"find_faces": True})
    # red in its middle quarter; the square's edge is half a pixel wide in a chip of 32: three hundredths of its area
    assert table["age"][0] == pytest.approx(1 + 0.2 * 255 / 4, abs=0.4)
    assert table["error"].tolist() == [None, "no face found"]


def test_a_server_can_be_told_to_open_no_path(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"paths": false}')
    path = store.validation[0]
    table = answers(mlflow.pyfunc.load_model(URI), str(path), base64.b64encode(path.read_bytes()).decode())
    assert table["error"] == ["not base64 of an image, and paths are not opened", None]
    with pytest.raises(ModelError, match="paths is 'false'; give true or false"):
        _load_pyfunc(str(folder / "data" / "exported"), {"paths": "false"})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "JPEG2000", "AVIF"])
def test_base64_of_every_kind_is_told_from_a_path(kind: str) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (24, 24), (90, 80, 70)).save(picture, kind)
    text = base64.b64encode(picture.getvalue()).decode()
    assert decoded(text) == decoded(f"{text[:40]}\n{text[40:]}\n") == picture.getvalue()


@pytest.mark.parametrize(
    "path", ["/data/faces/0001", "face.jpg", "C:\\faces\\1.png", "faces", "/9j/x.jpg", "", "ä.jpg"]
)
def test_a_path_is_no_base64(path: str) -> None:
    assert decoded(path) is None


def test_a_model_that_is_loaded_again_is_opened_once(folder: Path) -> None:
    """As Spark does for each partition."""
    data = str(folder / "data" / "exported")
    assert _load_pyfunc(data)._estimator is _load_pyfunc(data)._estimator
    assert _load_pyfunc(data)._estimator is not _load_pyfunc(data, {"threads": 1})._estimator


def test_the_version_and_its_source_name_each_other(store: Store) -> None:
    client = MlflowClient()
    here = client.get_model_version_by_alias(NAME, "champion")
    there = client.get_model_version("agedetect", "1")
    assert here.tags == {
        "source": "models:/agedetect/1",
        "precision": "float32",
        "backbone": "tiny",
        "data_licence": "free",
    }
    assert here.description == "Takes pictures; exported from models:/agedetect/1.\n\n# A tiny model\n"
    assert here.run_id == store.run_id
    assert there.tags["exported_as"] == f"models:/{NAME}/1"
    assert there.description == "Exported as models:/agedetect-onnx/1.\n\n# A small model\n\nFor tests.\n"
    logged = client.get_logged_model(mlflow.models.get_model_info(URI).model_id)
    assert logged.experiment_id == client.get_run(store.run_id).info.experiment_id


def test_the_example_is_a_drawn_face_that_fits_the_signature(store: Store) -> None:
    model = mlflow.pyfunc.load_model(URI)
    (text,) = model.input_example["image"]
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (200, 200))
    table = model.predict(model.input_example)
    assert table.columns.tolist() == model.metadata.get_output_schema().input_names() == ["age", "low", "high", "error"]
    assert table["error"].tolist() == [None]


def test_mlflows_own_onnx_loader_reads_it(store: Store, file: Path) -> None:
    assert mlflow.onnx.load_model(URI) == onnx.load(file)


def test_mlflow_evaluates_it_on_a_table_of_paths(store: Store, file: Path) -> None:
    years = [20 + 3 * index for index in range(len(store.validation))]
    faces = pd.DataFrame({"image": [str(path) for path in store.validation], "years": years})
    with mlflow.start_run(experiment_id=MlflowClient().get_run(store.run_id).info.experiment_id):
        evaluate: Callable[..., Any] = mlflow.models.evaluate  # which has no annotations
        result = evaluate(
            URI,
            faces,
            targets="years",
            predictions="age",
            model_type="regressor",
            evaluator_config={"log_model_explainability": False},
        )
    ages = [estimate.age for estimate in AgeEstimator(file, device="cpu").predict_many(store.validation)]
    errors = [abs(age - wanted) for age, wanted in zip(ages, years, strict=True) if age is not None]
    assert result.metrics["example_count"] == len(errors) == len(years)
    # the ages of a table are rounded to a thousandth of a year
    assert result.metrics["mean_absolute_error"] == pytest.approx(sum(errors) / len(errors), abs=0.0005)


ALONE = """
import json, sys
import mlflow.pyfunc, pandas as pd
sys.modules["torch"] = sys.modules["onnx"] = None  # an import of either fails
table = mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame({"image": [sys.argv[2]]}))
import agedetect_runtime
print(json.dumps([agedetect_runtime.__file__, table["age"].tolist()]))
assert "agedetect" not in sys.modules
"""


def test_the_model_carries_the_runtime_and_no_pickle(folder: Path, store: Store) -> None:
    """In a process that finds none of our packages: the installed one is an editable checkout, or not there."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("code/agedetect_runtime/")} == {
        "MLmodel",
        "conda.yaml",
        "data/exported/model.onnx",
        "input_example.json",
        "python_env.yaml",
        "registered_model_meta",
        "requirements.txt",
        "serving_input_example.json",
    }
    blocked = "import sys\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", blocked + ALONE, str(folder), str(store.validation[0])]
    done = subprocess.run(command, env=kept, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place, ages = json.loads(done.stdout.splitlines()[-1])
    assert Path(place).is_relative_to(folder / "code")
    assert ages == answers(mlflow.pyfunc.load_model(URI), str(store.validation[0]))["age"]


def test_it_needs_neither_torch_nor_all_of_mlflow(folder: Path) -> None:
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in lines} == {
        "mlflow-skinny",
        "pandas",
        "numpy",
        "pillow",
        "onnxruntime",
        "click",
    }


@pytest.mark.slow
def test_the_exporter_registers_what_it_wrote(logged: Store, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    with tracking(logged.uri):
        done = CliRunner().invoke(
            export,
            [
                "models:/agedetect@candidate",
                "-o",
                str(output),
                "--register",
                "exported",
                "--alias",
                "candidate,champion",
            ],
        )
        assert done.exit_code == 0, done.output
        assert "registered as models:/exported/1, @candidate, @champion" in done.output
        version = MlflowClient().get_model_version("exported", "1")
        assert sorted(MlflowClient().get_registered_model("exported").aliases) == ["candidate", "champion"]
        model = mlflow.pyfunc.load_model("models:/exported@candidate")
    assert version.tags["source"] == "models:/agedetect/1"
    assert answers(model, str(logged.validation[0]))["error"] == [None]


def test_what_cannot_be_registered_is_one_line_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    def run(*options: str) -> tuple[int, str]:
        done = CliRunner().invoke(export, ["models:/agedetect@candidate", "-o", str(tmp_path / "model.onnx"), *options])
        return done.exit_code, done.output.splitlines()[-1]

    assert run("--alias", "champion") == (2, "Error: Invalid value for '--alias': it needs --register")
    assert run("--register", "agedetect") == (
        1,
        "Error: agedetect: it is the source's own name; register the file under another",
    )
    for name in ("bob's", "a/b", "a:b", "a@b", ".", " "):
        code, line = run("--register", name)
        assert (code, line.startswith(f"Error: {name!r}: ")) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_model_is_no_source(store: Store) -> None:
    with pytest.raises(ModelError, match=rf"^{URI}: it is an exported model: .*data/exported/model.onnx$"):
        load_registered_model(URI)


@pytest.mark.parametrize("alias", ["v2", "LATEST", "a b/c", ""])
def test_an_alias_that_mlflow_refuses_moves_none(store: Store, another_file: Path, alias: str) -> None:
    source, client = load_registered_model("models:/agedetect@candidate"), MlflowClient()
    with pytest.raises(MlflowException):
        client.set_registered_model_alias(NAME, alias, "1")
    with pytest.raises(ModelError, match=rf"^alias '{alias}': it may have [^\n]*; give another$"):
        register_export(source, another_file, NAME, ["champion", alias])
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "1"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_an_export_that_was_killed_as_it_sent_its_files_is_finished_by_the_next(
    store: Store, another_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt stands for the kill: MLflow marks what any other exception stops as failed."""
    source, client = load_registered_model("models:/agedetect@candidate"), MlflowClient()
    experiment = client.get_run(store.run_id).info.experiment_id

    def statuses() -> list[str]:
        return sorted(str(model.status) for model in client.search_logged_models([experiment]))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    before = statuses()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", killed)
        with pytest.raises(KeyboardInterrupt):
            register_export(source, another_file, "finished")
    assert statuses() == sorted([*before, "PENDING"])
    for _ in range(2):
        assert register_export(source, another_file, "finished").uri == "models:/finished/1"
        assert statuses() == sorted([*before, "READY"])
    assert mlflow.pyfunc.load_model("models:/finished/1").metadata.run_id == store.run_id
