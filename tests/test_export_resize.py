"""`--resize-in-graph`: any picture in, the ages that the runtime gives out; and what is written for other clients."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from agedetect_export.cli import main
from agedetect_export.resize import CentreSquare, write_with_resize
from agedetect_export.resize_parity import compare_resize
from agedetect_export.resize_report import RESIZE_TOLERANCE_YEARS
from agedetect_runtime import AgedetectError, AgeEstimator, ModelError
from agedetect_runtime.images import load_face, open_rgb
from agedetect_runtime.session import open_session
from agedetect_runtime.spec import METADATA_KEY, ModelSpec
from export_source import Store, draw_images
from export_store import tracking
from tiny_models import tiny_spec, write_tiny_model

pytest_plugins = ["export_store"]

Sides = st.integers(1, 150)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise: every pixel next to every other level."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(Sides, Sides, st.sampled_from(["bilinear", "bicubic"]), st.sampled_from([16, 31, 64]))
@settings(deadline=None, max_examples=60)
def test_the_graph_gives_the_very_pixels_of_the_runtime(height: int, width: int, resampling: str, size: int) -> None:
    pixels = picture(height, width)
    face = CentreSquare(size, resampling)(torch.from_numpy(pixels)[None])[0]
    np.testing.assert_array_equal(face.numpy(), load_face(pixels, size, resampling))


def test_many_pixels_to_one_are_summed_exactly() -> None:
    """70 or more weights in a row's sum, of which the lower halves could outgrow float32 if all were of one sign."""
    pixels = picture(1200, 900)
    face = CentreSquare(16, "bicubic")(torch.from_numpy(pixels)[None])[0]
    np.testing.assert_array_equal(face.numpy(), load_face(pixels, 16, "bicubic"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model that takes faces, and the same one that takes a picture."""
    folder = tmp_path_factory.mktemp("resize")
    spec = tiny_spec(32, 0.9, head="distribution")
    faces = write_tiny_model(folder / "faces.onnx", coverage=0.9, head="distribution")
    onnx.save(onnx.version_converter.convert_version(onnx.load(faces), 21), faces)  # as the exporter's are
    write_with_resize(faces, dataclasses.replace(spec, input="picture"), folder / "picture.onnx")
    return faces, folder / "picture.onnx"


@pytest.mark.slow
def test_the_runtime_runs_it_and_gives_the_same_ages(both: tuple[Path, Path]) -> None:
    faces, pictures = (AgeEstimator(path, device="cpu") for path in both)
    sources = [picture(*sides) for sides in ((50, 70), (300, 200), (32, 32), (20, 10))]
    wanted = list(faces.predict_many(sources, probabilities=True))
    found = list(pictures.predict_many(sources, probabilities=True))
    assert found == wanted  # to the last bit: the same pixels go through the same nodes
    assert [pictures.predict(source) for source in sources] == wanted
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert pictures.batch_size == 1
    chips = np.stack([load_face(source, 32, "bilinear") for source in sources])
    np.testing.assert_array_equal(pictures.ages(chips).age, faces.ages(chips).age)


@pytest.mark.slow
def test_a_bad_picture_is_one_row(both: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    rows = list(AgeEstimator(both[1], device="cpu").predict_many([picture(9, 9), tmp_path / "bad.png"]))
    assert [row.error for row in rows] == [None, "truncated or damaged in its header"]


@pytest.mark.slow
def test_a_resize_of_another_filter_fails_the_comparison(both: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = dataclasses.replace(tiny_spec(32, 0.9, head="distribution"), input="picture", resampling="bicubic")
    write_with_resize(both[0], wrong, tmp_path / "wrong.onnx")
    images = draw_images(tmp_path / "faces", 4)
    report = compare_resize(both[0], tmp_path / "wrong.onnx", images)
    assert report.worst_years is not None
    assert report.worst_years > RESIZE_TOLERANCE_YEARS
    assert report.verdict.startswith("failed: resized in the graph, worst")
    assert compare_resize(both[0], both[1], images).worst_years == 0


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["faces", "picture"])
def test_a_file_that_takes_something_else_is_refused(both: tuple[Path, Path], tmp_path: Path, claim: str) -> None:
    model = onnx.load(both[claim == "faces"])
    spec = ModelSpec.from_json(model.metadata_props[0].value)
    onnx.helper.set_model_props(model, {METADATA_KEY: dataclasses.replace(spec, input=claim).to_json()})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=f"model.onnx: its input is not {claim}, uint8"):
        open_session(tmp_path / "model.onnx", device="cpu")


@pytest.fixture(scope="module")
def exported(logged: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one export with a resize in its graph and golden vectors."""
    folder = tmp_path_factory.mktemp("exported")
    arguments = ["--output", str(folder / "model.onnx"), "--resize-in-graph", "--golden", str(folder / "golden")]
    with tracking(logged.uri):
        result = CliRunner().invoke(main, ["models:/agedetect@candidate", *arguments])
    assert result.exit_code == 0, result.output
    assert "passed: resized in the graph, worst" in result.output
    return folder


@pytest.mark.slow
def test_the_file_takes_a_picture_of_any_size(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "golden",
        "model.onnx",
        "model.onnx.json",
        "model.parity.json",
    ]
    (value,) = onnx.load(exported / "model.onnx").graph.input
    shape = [side.dim_value or side.dim_param for side in value.type.tensor_type.shape.dim]
    assert (value.name, shape) == ("picture", [1, "height", "width", 3])


@pytest.mark.slow
def test_the_file_and_the_report_say_how_the_resize_was_compared(exported: Path) -> None:
    spec = AgeEstimator(exported / "model.onnx", device="cpu").spec
    found = spec.provenance["resize"]
    assert found["pictures"] == 4 * 14  # each of the validation images in four shapes
    assert found["worst_years"] <= RESIZE_TOLERANCE_YEARS
    assert json.loads((exported / "model.parity.json").read_text())["resize"]["shapes"] == found["shapes"]


@pytest.mark.slow
def test_the_description_says_what_the_metadata_say(exported: Path) -> None:
    about = json.loads((exported / "model.onnx.json").read_text())
    assert about["sha256"] == hashlib.sha256((exported / "model.onnx").read_bytes()).hexdigest()
    assert about["input"] == {
        "name": "picture",
        "type": "uint8",
        "shape": [1, "height", "width", 3],
        "colours": "RGB",
    }
    assert [output["name"] for output in about["outputs"]] == ["age", "low", "high", "probabilities"]
    assert about["outputs"][3]["shape"] == [1, 117]
    kept = {field.name for field in dataclasses.fields(ModelSpec)} - {"input"}
    spec = json.loads(AgeEstimator(exported / "model.onnx", device="cpu").spec.to_json())
    assert {name: about[name] for name in kept} == {name: spec[name] for name in kept}


@pytest.mark.slow
def test_golden_vectors_are_what_the_runtime_does(exported: Path) -> None:
    folder, estimator = exported / "golden", AgeEstimator(exported / "model.onnx", device="cpu")
    golden = json.loads((folder / "golden.json").read_text())
    size = golden["image_size"]
    for vector in golden["vectors"]:
        pixels = np.array(open_rgb(folder / vector["picture"]))
        assert pixels.shape == (vector["height"], vector["width"], 3)
        assert pixels.tobytes() == (folder / vector["pixels"]).read_bytes()
        face = load_face(folder / vector["picture"], size, golden["resampling"])
        assert face.tobytes() == (folder / vector["face"]).read_bytes()
        estimate = estimator.predict(folder / vector["picture"])
        assert (estimate.age, estimate.low, estimate.high) == (vector["age"], vector["low"], vector["high"])
    ages = [vector["age"] for vector in golden["vectors"]]
    assert np.ptp(ages) > 1  # a client that answered one age for all would be found out


@pytest.mark.slow
def test_force_replaces_golden_vectors_and_nothing_else(exported: Path, tmp_path: Path) -> None:
    from agedetect_export.files import check_golden

    with pytest.raises(AgedetectError, match="exists; give another folder, or force"):
        check_golden(exported / "golden", force=False)
    check_golden(exported / "golden", force=True)
    with pytest.raises(AgedetectError, match="holds no golden vectors"):
        check_golden(tmp_path, force=True)


def test_the_command_refuses_a_folder_with_other_files_before_it_begins(tmp_path: Path) -> None:
    arguments = ["--output", str(tmp_path / "model.onnx"), "--golden", str(tmp_path), "--force"]
    result = CliRunner().invoke(main, ["models:/agedetect@candidate", *arguments])
    assert result.exit_code == 2
    assert "holds no golden vectors; give another folder" in result.output
