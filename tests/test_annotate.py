"""`--annotate`: copies with ages, in the size and the way up that people see, under names of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from agedetect_runtime.annotate import Annotator, age_text
from agedetect_runtime.cli import main
from agedetect_runtime.estimate import Estimate
from agedetect_runtime.rows import FaceRow
from tiny_detector import draw, write_tiny_detector
from tiny_images import save_noise, stored_jpeg
from tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "age.onnx", coverage=0.9)


def infer(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu", "--quiet"], input=stdin)


def pixels(path: Path) -> NDArray[np.int16]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def test_a_copy_of_a_face_has_its_age_at_the_lower_edge_and_is_else_the_same(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (200, 240), (100, 100, 100)).save(tmp_path / "a.png")
    assert infer(tmp_path / "a.png", "--onnx", model, "--annotate", tmp_path / "out").exit_code == 0
    copy = pixels(tmp_path / "out" / "a.png")
    changed = (copy != 100).any(axis=2)
    assert copy.shape == (240, 200, 3)
    assert not changed[:200].any()
    assert changed[225:].any()
    assert (copy == 255).all(axis=2).any()  # white text
    assert pixels(tmp_path / "a.png").max() == 100  # the original is as it was


def test_a_copy_of_a_photo_has_a_box_around_each_face(model: Path, tmp_path: Path) -> None:
    draw((480, 320), [(320, 64, 16), (32, 96, 32)]).save(tmp_path / "a.png")
    detector = write_tiny_detector(tmp_path / "tiny.onnx")
    found = ("--find-faces", "--detector", detector, "--annotate", tmp_path / "out")
    assert infer(tmp_path / "a.png", "--onnx", model, *found).exit_code == 0
    changed = (pixels(tmp_path / "out" / "a.png") != pixels(tmp_path / "a.png")).any(axis=2)
    for left, top, side in ((312, 56, 32), (16, 80, 64)):  # the boxes of the squares, twice as large as they
        assert changed[top : top + side, left].all()
        assert changed[top + side, left : left + side].all()
        assert not changed[top + 2 : top + side - 2, left + 2 : left + side - 2].any()
        assert changed[top - 4, left : left + side].any()  # the age above the box


def test_a_copy_is_upright(model: Path, tmp_path: Path) -> None:
    upright = Image.new("RGB", (64, 96), "blue")
    upright.paste("yellow", (0, 0, 64, 48))
    (tmp_path / "a.jpg").write_bytes(stored_jpeg(upright, 6))
    infer(tmp_path / "a.jpg", "--onnx", model, "--annotate", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.jpg") as copy:
        assert (copy.size, copy.format) == ((64, 96), "JPEG")
        assert copy.getexif().get(0x0112, 1) == 1
        red, _, blue = np.asarray(copy)[10, 10]
        assert red > 200 > 100 > blue


def test_names_are_kept_below_a_folder_and_never_collide(model: Path, tmp_path: Path) -> None:
    photos, other = tmp_path / "photos", tmp_path / "other"
    for path in (photos / "a.jpg", photos / "more" / "a.jpg", photos / "b.tif", photos / "b.tif.png", other / "a.jpg"):
        save_noise(path, 1)
    (photos / "bad.jpg").touch()
    done = infer(photos, other / "a.jpg", photos / "more" / "a.jpg", "--onnx", model, "--annotate", tmp_path / "out")
    assert done.exit_code == 0
    copies = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert copies == ["a-2.jpg", "a.jpg", "b.tif-2.png", "b.tif.png", "more/a-2.jpg", "more/a.jpg"]


def test_a_copy_that_cannot_be_made_is_told_and_stops_nothing(model: Path, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 250 + ".tif")  # no file system takes it with .png behind it
    for path in (long, tmp_path / "a.png"):
        save_noise(path, 1)
    call = (long, tmp_path / "a.png", "--onnx", model, "--output", tmp_path / "ages.csv", "--annotate")
    for folder, strict in (("out", ()), ("strict", ("--strict",))):
        done = infer(*call, tmp_path / folder, *strict, "--force")
        told = f"2 images, 0 failed, 1 file without a copy ({long}: its copy cannot be written: file name too long), "
        assert (done.exit_code, done.stderr.startswith(told)) == (len(strict), True)
        assert (tmp_path / "ages.csv").read_text().count("\n") == 3
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["a.png"]


def test_a_picture_that_is_deleted_after_its_age_is_known_has_no_copy(tmp_path: Path) -> None:
    save_noise(tmp_path / "a.png", 1)
    annotator = Annotator(tmp_path / "out", [])
    for name in ("gone.png", "a.png"):
        annotator.add(Estimate(str(tmp_path / name), 34.0))
    assert annotator.missing.paths == [f"{tmp_path}/gone.png: no such file"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["photos//{}.png", "photos/../photos/{}.png", "photos/more/../../{}.png"])
def test_a_copy_is_in_its_folder_however_the_path_is_written(model: Path, tmp_path: Path, name: str) -> None:
    photos = tmp_path / "photos"
    unique = f"agedetect-{tmp_path.name}"  # a copy in the root would replace nothing
    for path in (photos / "more" / "b.png", photos / f"{unique}.png", tmp_path / f"{unique}.png"):
        save_noise(path, 1)
    written = f"{tmp_path}/{name.format(unique)}"
    assert infer(photos, written, "--onnx", model, "--annotate", tmp_path / "deep" / "out").exit_code == 0
    copies = sorted(str(path.relative_to(tmp_path / "deep")) for path in (tmp_path / "deep").rglob("*.png"))
    assert copies == [f"out/{unique}-2.png", f"out/{unique}.png", "out/more/b.png"]


def test_a_folder_with_something_in_it_or_among_the_pictures_is_refused(model: Path, tmp_path: Path) -> None:
    save_noise(tmp_path / "photos" / "a.png", 1)
    for folder, reason in ((tmp_path, "is not empty"), (tmp_path / "photos" / "out", "choose a folder outside")):
        done = infer(tmp_path / "photos", "--onnx", model, "--annotate", folder)
        assert done.exit_code == 1
        assert reason in done.stderr
        assert done.stdout == ""
    resumed = infer("-", "--onnx", model, "--output", "a.csv", "--resume", "--annotate", tmp_path / "out")
    assert (resumed.exit_code, "it starts afresh" in resumed.stderr) == (2, True)


def test_ages_are_written_as_in_the_table() -> None:
    assert age_text(FaceRow(Estimate("a.jpg", 34.26, 26.9, 42.04))) == "34 (27-42)"
    assert age_text(FaceRow(Estimate("a.jpg", 34.26))) == "34"


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3000, 20)])
def test_odd_sizes_have_copies_of_their_size(model: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    save_noise(tmp_path / "a.png", 1, size)
    assert infer(tmp_path / "a.png", "--onnx", model, "--annotate", tmp_path / "out").exit_code == 0
    assert pixels(tmp_path / "out" / "a.png").shape[:2] == size[::-1]
