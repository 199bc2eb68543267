"""Photos that an evaluation finds the faces in, on a detector of red squares: which faces count, and who says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from agedetect import compare, evaluate, load_model, read_faces
from agedetect.cli import main
from agedetect.errors import ConfigError, DataError
from agedetect.evaluation.pictures import largest_face
from agedetect.tracking.reading import RegisteredModel
from agedetect_runtime import AgeEstimator, detectorfile
from agedetect_runtime.download import KnownFile
from agedetect_runtime.finding import cut_faces
from agedetect_runtime.yunet import YuNet
from export_source import Store
from tiny_detector import draw, write_tiny_detector
from tiny_models import write_tiny_model

pytest_plugins = ["export_store"]

ROWS = {"a": (30, [(320, 32, 16), (32, 32, 32)], "black"), "b": (9, [], "blue"), "c": (5, [(64, 64, 16)], "blue")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos in photos.csv show two faces, none and one; and in bare.csv, none."""
    folder = tmp_path_factory.mktemp("photos")
    for name, (_, squares, background) in ROWS.items():
        draw((480, 320), squares, background).save(folder / f"{name}.png")
    (folder / "photos.csv").write_text("path,age\n" + "".join(f"{name}.png,{row[0]}\n" for name, row in ROWS.items()))
    (folder / "bare.csv").write_text("path,age\nb.png,9\n")
    write_tiny_detector(folder / "tiny.onnx")
    write_tiny_model(folder / "age.onnx", coverage=0.9)
    write_tiny_model(folder / "older.onnx", coverage=0.9, bias=40)
    return folder


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_the_ages_are_those_that_the_runtime_finds(folder: Path) -> None:
    with AgeEstimator(folder / "age.onnx", device="cpu", detector=folder / "tiny.onnx") as estimator:
        wanted = [estimator.find(folder / f"{name}.png", largest=True)[0].estimate for name in ("a", "c")]
    result = evaluate(
        folder / "age.onnx", folder / "photos.csv", find_faces=True, detector=str(folder / "tiny.onnx")
    ).result
    ages = [estimate.age for estimate in wanted]
    # as float32 both; each answers for another batch
    assert result.predictions.age == pytest.approx(np.array(ages, float), abs=1e-4)
    assert result.overall.mae.value == pytest.approx(np.abs(np.array(ages, float) - [30, 5]).mean(), abs=1e-4)
    assert [face.path.name for face in result.predictions.faces] == ["a.png", "c.png"]
    assert result.n == 2


def test_a_registered_model_gets_the_same_chips(store: Store, registered: RegisteredModel, folder: Path) -> None:
    yunet, spec = YuNet.open(folder / "tiny.onnx"), registered.spec
    chips = [
        cut_faces(folder / f"{name}.png", yunet, side=spec.image_size, template=spec.template, largest=True).chips[0]
        for name in ("a", "c")
    ]
    faces = read_faces(folder / "photos.csv").faces
    found = load_model("models:/agedetect@candidate").predict(faces, prepare=largest_face(yunet))
    np.testing.assert_array_equal(found.age, registered.network.predict(np.stack(chips)).age)
    as_they_are = registered.predict([faces[0], faces[2]])
    assert found.age != pytest.approx(as_they_are.age, abs=0.1)  # years: finding does matter here


def test_photos_without_a_face_are_counted_and_named_everywhere(folder: Path, tmp_path: Path) -> None:
    options: list[str | Path] = ["--find-faces", "--detector", folder / "tiny.onnx", "--output", tmp_path]
    done = call(folder / "age.onnx", folder / "photos.csv", *options)
    assert done.exit_code == 0, done.output
    line = "A face was found in 2 of 3 pictures (tiny.onnx); no figure counts the others: b.png."
    assert line in done.output
    assert "the largest face of each picture was found and aligned" in done.output
    page = " ".join((tmp_path / "evaluation.html").read_text().split())
    assert line in page
    values = json.loads((tmp_path / "evaluation.json").read_text())
    assert values["context"]["finding"] == {"detector": "tiny.onnx", "pictures": 3, "without_face": ["b.png"]}
    assert values["n"] == 2
    assert values["leakage"] is values["sensitivity"] is None
    done = call(folder / "age.onnx", folder / "photos.csv", "--output", tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text())["context"]["finding"] is None
    assert "found" not in done.output


def test_two_models_answer_for_the_same_found_faces(folder: Path, tmp_path: Path) -> None:
    report = compare(
        folder / "age.onnx",
        folder / "older.onnx",
        folder / "photos.csv",
        find_faces=True,
        detector=folder / "tiny.onnx",
    )
    assert report.result.overall.n == 2
    assert report.result.why.endswith("found and aligned; 2 of 3 pictures show a face")
    options: list[str | Path] = ["--find-faces", "--detector", folder / "tiny.onnx", "--output", tmp_path]
    done = call(folder / "age.onnx", folder / "older.onnx", folder / "photos.csv", *options)
    assert done.exit_code == 0, done.output
    assert "2 of 3 pictures show a face" in (tmp_path / "comparison.html").read_text()


def test_where_no_photo_shows_a_face_there_is_nothing_to_evaluate(folder: Path) -> None:
    with pytest.raises(DataError, match=r"^no face was found in any of 1 pictures: evaluate them as they are$"):
        evaluate(folder / "age.onnx", folder / "bare.csv", find_faces=True, detector=folder / "tiny.onnx")


def test_a_detector_that_cannot_be_had_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectorfile, "YUNET", KnownFile("http://127.0.0.1:9/yunet.onnx", "0", 1))
    monkeypatch.setenv("AGEDETECT_CACHE", str(tmp_path / "cache"))
    done = call(folder / "age.onnx", folder / "photos.csv", "--find-faces", "--output", tmp_path / "report")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: http://127.0.0.1:9/yunet.onnx: no answer (connection refused); try again, or")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_a_bad_detector_is_known_before_the_pictures_are_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "detector.onnx").write_bytes(b"no model")
    options: list[str | Path] = ["--find-faces", "--detector", tmp_path / "detector.onnx"]
    done = call(folder / "age.onnx", tmp_path / "nowhere", *options, "--output", tmp_path / "report")
    assert done.exit_code == 1
    assert "detector.onnx" in done.stderr
    assert "nowhere" not in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--detector", "tiny.onnx"], "'--detector': it needs --find-faces"),
        (["--crop-sensitivity", "9", "--find-faces"], "'--crop-sensitivity': it needs one model, without --find-faces"),
        (["--crop-sensitivity", "0"], "'--crop-sensitivity': 0 is not in the range x>=1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: list[str], words: str) -> None:
    done = call("age.onnx", "photos.csv", *options)
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detector": "tiny.onnx"}, "detector tiny.onnx: it needs find_faces"),
        ({"crop_sensitivity": -1}, "crop_sensitivity -1 is not a number of faces"),
        ({"crop_sensitivity": 9, "find_faces": True}, "crop_sensitivity moves pictures as they are, and find_faces"),
    ],
)
def test_and_so_they_are_in_python(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        evaluate("age.onnx", "photos.csv", **options)  # type: ignore[arg-type]


def test_the_crop_sensitivity_is_in_every_report(folder: Path, drawn_faces: Path, tmp_path: Path) -> None:
    done = call(folder / "age.onnx", drawn_faces, "--crop-sensitivity", "8", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    values = json.loads((tmp_path / "evaluation.json").read_text())["sensitivity"]
    assert (values["n"], len(values["steps"]), values["random"]["factor"]) == (8, 16, "random")
    growth = values["random"]["growth"]
    shown = f"{growth['value']:+.2f} ({growth['low']:+.2f} to {growth['high']:+.2f})"
    page = " ".join((tmp_path / "evaluation.html").read_text().split())
    for text in (done.output, page):
        assert "Crop sensitivity, 8 faces: scaled by up to 15%, shifted by 5% of the side and turned by 15°" in text
        assert f"their MAE changes by {shown} years" in text
        assert "0.7 times as large" in text
        assert "shifted by 2.5% of the side" in text
    assert '<h2 id="crop">Crop sensitivity</h2>' in page
    assert "<svg" in (tmp_path / "figures" / "crop_sensitivity.svg").read_text()
