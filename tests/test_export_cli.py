"""`agedetect-export` as it is run: what it writes, what it refuses, and what is left behind when it fails."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import onnx
import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from agedetect_export.cli import main
from agedetect_export.faces import from_folder, from_run, spread_over_age
from agedetect_runtime import AgedetectError, AgeEstimator, ModelError
from agedetect_runtime.installing import install_command
from agedetect_runtime.spec import METADATA_KEY, ModelSpec
from export_source import Store, draw_images, small_spec

pytest_plugins = ["export_store"]

# The file that was asked for, and how the process ended.
Done = tuple[Path, subprocess.CompletedProcess[str]]

SOURCE = "models:/agedetect@candidate"
COMMAND = "from agedetect_export.cli import main\nmain()"
HELP = """
import sys
from agedetect_export.cli import main
try:
    main(["--help"])
finally:
    print(sorted({"mlflow", "numpy", "onnx", "torch"} & set(sys.modules)))
"""


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [SOURCE, *map(str, arguments)])


def without_parity(path: Path) -> tuple[bytes, ModelSpec]:
    """The graph, and what the file says of itself but for the differences: they vary with the threads."""
    model = onnx.load(path)
    spec = ModelSpec.from_json(model.metadata_props[0].value)
    kept = {name: value for name, value in spec.provenance.items() if name != "parity"}
    return model.graph.SerializeToString(deterministic=True), dataclasses.replace(spec, provenance=kept)


def python(code: str, *arguments: str, uri: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": uri}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)


@pytest.fixture(scope="module")
def done(logged: Store, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One export, in a process of its own."""
    output = tmp_path_factory.mktemp("export") / "model.onnx"
    return output, python(COMMAND, SOURCE, "--output", str(output), uri=logged.uri)


@pytest.mark.slow
def test_an_export_writes_three_files(done: Done) -> None:
    output, process = done
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.json",
        "model.parity.json",
    ]


@pytest.mark.slow
def test_the_terminal_shows_the_report_and_no_chatter(
    done: Done,
) -> None:
    output, process = done
    ours = [line for line in process.stderr.splitlines() if line.startswith(("converting", "comparing"))]
    assert ours == ["converting agedetect version 1", "comparing on 14 images"]
    assert "Traceback" not in process.stderr
    assert "torch.onnx" not in process.stderr + process.stdout
    assert "batches of 7" in process.stdout
    assert "passed: worst" in process.stdout
    assert process.stdout.splitlines()[-1].startswith(f"{output}: 1.9 MB, from agedetect version 1")


@pytest.mark.slow
def test_the_file_says_where_it_came_from_and_how_it_did(done: Done, logged: Store) -> None:
    (value,) = (item.value for item in onnx.load(done[0]).metadata_props if item.key == METADATA_KEY)
    spec = ModelSpec.from_json(value)
    assert spec.provenance["source"] == {
        "run_id": logged.run_id,
        "registered_model": "agedetect",
        "version": "1",
    }
    assert spec.provenance["parity"]["passed"]
    assert spec.provenance["parity"]["images"] == 14
    assert spec.provenance["split_fingerprint"] == small_spec().provenance["split_fingerprint"]
    assert (spec.image_size, spec.resampling) == (small_spec().image_size, small_spec().resampling)
    assert str(logged.root) not in value
    assert ".png" not in value


@pytest.mark.slow
def test_the_report_beside_the_file_is_the_logged_one(done: Done, store: Store, tmp_path: Path) -> None:
    report = done[0].with_name("model.parity.json").read_bytes()
    client = MlflowClient()
    for name, content in (("model.parity.json", report), ("model.onnx", done[0].read_bytes())):
        copy = client.download_artifacts(store.run_id, f"export/{name}", str(tmp_path))
        assert Path(copy).read_bytes() == content
    worst = json.loads(report)["worst_years"]
    assert client.get_run(store.run_id).data.metrics["export/parity_worst_years"] == worst
    assert client.get_model_version("agedetect", "1").tags["onnx_parity"].startswith("passed: worst")


@pytest.mark.slow
def test_the_runtime_takes_the_file(done: Done, logged: Store) -> None:
    estimates = list(AgeEstimator(done[0], device="cpu").predict_many(logged.validation))
    assert all(estimate.error is None for estimate in estimates)
    assert len({estimate.age for estimate in estimates}) == len(logged.validation)


@pytest.mark.slow
def test_failed_parity_leaves_no_file(store: Store, tmp_path: Path) -> None:
    result = export("--output", tmp_path / "model.onnx", "--tolerance-years", "1e-12")
    assert result.exit_code == 1
    assert "FAILED" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error:")
    assert "parity failed: batches of" in last
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_failed_parity_leaves_an_earlier_export_as_it_was(store: Store, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    draw_images(tmp_path / "faces", 3)
    (tmp_path / "model.onnx").write_text("earlier")
    (tmp_path / "model.parity.json").write_text("earlier report")
    result = export("--output", tmp_path / "model.onnx", "--force", "--faces", tmp_path / "faces")
    assert result.exit_code == 1
    assert "only 3 distinct readable images" in result.stderr
    assert (tmp_path / "model.onnx").read_text() == "earlier"
    assert (tmp_path / "model.parity.json").read_text() == "earlier report"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_force_replaces_and_gives_the_same_file_but_for_what_was_measured(
    done: Done, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_text("earlier")
    result = export("--output", tmp_path / "model.onnx", "--force")
    assert result.exit_code == 0, result.stderr
    assert without_parity(tmp_path / "model.onnx") == without_parity(done[0])
    assert json.loads((tmp_path / "model.parity.json").read_text())["passed"]


@pytest.mark.slow
def test_an_export_that_cannot_be_logged_leaves_no_file(store: Store, tmp_path: Path) -> None:
    client = MlflowClient()
    client.delete_run(store.run_id)  # MLflow still shows it, and takes nothing new for it
    try:
        result = export("--output", tmp_path / "model.onnx")
    finally:
        client.restore_run(store.run_id)
    assert result.exit_code == 1
    assert "was not logged" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_export_that_cannot_be_logged_leaves_an_earlier_one_as_it_was(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("earlier")  # and no report: each file is put back for itself
    client = MlflowClient()
    client.delete_run(store.run_id)
    try:
        result = export("--output", tmp_path / "model.onnx", "--force")
    finally:
        client.restore_run(store.run_id)
    assert result.exit_code == 1
    assert "was not logged" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "earlier"


@pytest.mark.slow
def test_the_bytes_that_ship_are_opened_before_they_replace_anything(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_text("earlier")
    monkeypatch.setattr("agedetect_export.convert.write_spec", lambda path, spec: path.write_bytes(b"\x08\x0a cut"))
    result = export("--output", tmp_path / "model.onnx", "--force")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: model.onnx: not an ONNX file")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "earlier"


@pytest.mark.slow
def test_what_the_disk_refuses_is_one_line(store: Store, tmp_path: Path) -> None:
    # the system takes 255 bytes for a name; what a file is called while it is written has some more than it
    output = tmp_path / ("x" * 242 + ".onnx")
    result = export("--output", output)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {output}: cannot be written: File name too long")
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_no_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model.parity.json").mkdir()
    result = export("--output", tmp_path / "model.onnx", "--force")
    assert result.exit_code == 2
    assert "model.parity.json is a folder" in " ".join(result.stderr.split())


@pytest.mark.slow
def test_a_version_of_a_run_in_another_store_exports_with_faces(store: Store, tmp_path: Path) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(store.model_uri, dst_path=str(tmp_path / "model")))
    faces = tmp_path / "faces"
    faces.mkdir()
    for path in store.validation:
        shutil.copy(path, faces)
    os.rename(faces / store.validation[0].name, os.fsencode(faces) + b"/\xff.png")  # noqa: PTH104 (bytes)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    client = MlflowClient()
    client.create_registered_model("agedetect")
    client.create_model_version("agedetect", folder.as_uri())
    client.set_registered_model_alias("agedetect", "candidate", "1")
    output = tmp_path / "model.onnx"
    result = export("--output", output)
    assert result.exit_code == 1
    assert "its run is not in sqlite" in result.stderr
    assert "--faces" in result.stderr
    result = export("--output", output, "--faces", faces)
    assert result.exit_code == 0, result.stderr
    assert "not logged: the model's run is not in sqlite" in result.stderr
    assert json.loads((tmp_path / "model.parity.json").read_text())["images"] == len(store.validation)


def test_an_unknown_model_is_one_line(store: Store, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["models:/agedetect@champion", "-o", str(tmp_path / "model.onnx")])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: models:/agedetect@champion: not found in sqlite")
    assert "Traceback" not in result.stderr


def test_wrong_calls_exit_with_2(store: Store, tmp_path: Path) -> None:
    (tmp_path / "old.onnx").write_text("earlier")
    (tmp_path / "stale.parity.json").write_text("earlier")
    wrong: dict[str, list[str | Path]] = {
        "--force to replace": ["-o", tmp_path / "old.onnx"],
        "stale.parity.json exists": ["-o", tmp_path / "stale.onnx"],
        "there is no folder": ["-o", tmp_path / "missing" / "model.onnx"],
        "ends in .onnx": ["-o", tmp_path / "model.bin"],
        "Missing option": [],
        "no such folder": ["-o", tmp_path / "model.onnx", "--faces", tmp_path / "missing"],
        "is not in the range": ["-o", tmp_path / "model.onnx", "--tolerance-years", "0"],
        "Invalid value for '--images'": ["-o", tmp_path / "model.onnx", "--images", "3"],
    }
    for reason, arguments in wrong.items():
        result = export(*arguments)
        assert result.exit_code == 2, reason
        assert reason in " ".join(result.stderr.split())
    result = CliRunner().invoke(main, ["agedetect@candidate", "-o", str(tmp_path / "model.onnx")])
    assert result.exit_code == 2
    assert "give models:/NAME@ALIAS" in " ".join(result.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    process = python(HELP)
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1] == "[]"
    assert "agedetect-export models:/agedetect@candidate --output model.onnx" in process.stdout


@pytest.mark.parametrize("package", ["mlflow", "torch", "onnx", "onnxscript"])
def test_a_missing_extra_is_named(package: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{package!r}] = None\nfrom agedetect_export.cli import main\nmain()"
    process = python(code, SOURCE, "-o", str(tmp_path / "model.onnx"))
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        f"Error: {package} is not installed; this command needs: {install_command('train')}"
    )
    assert list(tmp_path.iterdir()) == []


def test_validation_faces_that_are_not_here_are_never_replaced(tmp_path: Path) -> None:
    listed = [(tmp_path / "gone.png", 30.0)]
    with pytest.raises(ModelError, match=r"none of the source run's 1 .*gone\.png.*--faces"):
        from_run(listed, 8)


def test_faces_are_spread_over_age_not_over_their_number() -> None:
    faces = [(Path(f"young{index}"), 1.0) for index in range(90)]
    faces += [(Path(f"old{index}"), 10.0 * index) for index in range(1, 11)]
    taken = [str(path) for path in spread_over_age(faces, 11)]
    assert sorted(path for path in taken if path.startswith("old")) == sorted(f"old{i}" for i in range(1, 11))
    assert sum(path.startswith("young") for path in taken) == 1
    assert [str(path) for path in spread_over_age(list(reversed(faces)), 11)] == taken


def test_few_faces_are_all_taken_once(tmp_path: Path) -> None:
    faces = [(Path(f"{index}"), float(index)) for index in range(5)]
    assert spread_over_age(faces, 8) == [path for path, _ in faces]
    paths = draw_images(tmp_path, 5)
    assert from_folder(tmp_path, 64) == paths
    assert from_folder(tmp_path, 2) == [paths[0], paths[2]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(AgedetectError, match="no images"):
        from_folder(tmp_path / "empty", 8)
