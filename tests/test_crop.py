"""`agedetect crop`: faces cut out of one's own photos, with their labels, to train and evaluate on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from agedetect.cli import main
from agedetect.data.faces import read_faces
from tiny_detector import draw, write_tiny_detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two faces, one in a folder below, none, and a bad image."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    draw((480, 320), [(320, 32, 16), (32, 32, 32)], "blue").save(folder / "a.png")
    draw((480, 320), [(64, 64, 16)], "green").save(folder / "more" / "=a.png")
    draw((480, 320), []).save(folder / "none.png")
    (folder / "bad.jpg").write_bytes(b"")
    return folder


def crop(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["crop", *map(str, arguments)])


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_every_face_of_a_folder_is_cut_out(photos: Path, tmp_path: Path, detector: Path) -> None:
    out = tmp_path / "out"
    done = crop(photos, out, "--detector", detector, "--size", "64", "--format", "png")
    assert done.exit_code == 0, done.output
    assert done.output == f"3 faces of 4 photos in {out}, 2 in not_found.csv\n"
    assert table(out / "faces.csv") == [
        ["path", "photo", "face"],
        ["chips/000001_a.png", str(photos / "a.png"), "1"],
        ["chips/000001_a_2.png", str(photos / "a.png"), "2"],
        ["chips/000003_=a.png", str(photos / "more" / "=a.png"), "1"],
    ]
    assert table(out / "not_found.csv") == [
        ["path", "reason"],
        [str(photos / "bad.jpg"), "empty file"],
        [str(photos / "none.png"), "no face found"],
    ]
    large = np.asarray(Image.open(out / "chips/000001_a.png"))
    assert (large[20:44, 20:44] == (255, 0, 0)).all()  # the box is twice the square
    assert (large[:12] == (0, 0, 255)).all()
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    chips = {row[0] for row in table(out / "faces.csv")[1:]}
    assert files == {"faces.csv", "not_found.csv", "contact_sheet.jpg", *chips}


def test_the_contact_sheet_shows_the_faces_in_order(photos: Path, tmp_path: Path, detector: Path) -> None:
    crop(photos, tmp_path / "out", "--detector", detector)
    sheet = np.asarray(Image.open(tmp_path / "out" / "contact_sheet.jpg")).astype(int)
    assert sheet.shape == (80, 20 * 80, 3)
    corners = [int(sheet[5, 80 * index + 5].argmax()) for index in range(3)]
    assert corners == [2, 2, 1]  # two on blue, one on green
    assert sheet[:, 250:].max() < 20  # JPEG's black


def test_the_largest_alone(photos: Path, tmp_path: Path, detector: Path) -> None:
    done = crop(photos, tmp_path / "out", "--detector", detector, "--largest")
    assert done.output.startswith("2 faces of 4 photos")


def test_labels_of_a_manifest_travel_along_to_be_trained_on(photos: Path, tmp_path: Path, detector: Path) -> None:
    manifest = tmp_path / "photos.csv"
    manifest.write_text(
        "path,age,gender,race\nphotos/a.png,31,female,Asian\nphotos/more/=a.png,4,,\nphotos/none.png,9,,\nphotos/b.png,x,,\n"
    )
    out = tmp_path / "out"
    done = crop(manifest, out, "--detector", detector)
    assert done.exit_code == 0, done.output
    assert [row[1] for row in table(out / "not_found.csv")[1:]] == [
        "no face found",
        "line 5: age 'x' is not from 0 to 116 years",
    ]
    faces = read_faces(out / "faces.csv").faces
    assert [(face.path.name, face.age, face.gender, face.race, face.size) for face in faces] == [
        ("000001_a.jpg", 31.0, "female", "Asian", (200, 200)),
        ("000002_=a.jpg", 4.0, None, None, (200, 200)),
    ]


def test_nothing_to_read_or_a_folder_in_use_is_one_line(photos: Path, tmp_path: Path, detector: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = crop(tmp_path / "empty", tmp_path / "out", "--detector", detector)
    assert (done.exit_code, done.output) == (1, f"Error: {tmp_path / 'empty'}: no images in this folder or below\n")
    assert not (tmp_path / "out").exists()
    done = crop(photos, tmp_path, "--detector", detector)
    assert (done.exit_code, done.output) == (
        1,
        f"Error: {tmp_path}: is there already and not empty; choose another folder\n",
    )
    done = crop(photos, tmp_path / "out", "--detector", tmp_path / "none.onnx")
    assert done.exit_code == 1
    assert done.output.startswith("Error: none.onnx: cannot be read: no such file or directory; give a YuNet file")
    assert not (tmp_path / "out").exists()
