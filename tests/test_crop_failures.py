"""What `agedetect crop` does where nothing can be cut, where names are odd, and where it is stopped."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from agedetect.cli import main
from conftest import listen_to_ctrl_c, program
from tiny_detector import draw, write_tiny_detector

Crop = Callable[..., Result]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny.onnx")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one face, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    draw((480, 320), [(320, 32, 16)]).save(folder / "face.png")
    return folder


@pytest.fixture
def crop(detector: Path) -> Crop:
    """The command with the tiny detector."""
    return lambda *arguments: CliRunner().invoke(main, ["crop", *map(str, arguments), "--detector", str(detector)])


def refusal(done: Result) -> str:
    """The one line of a call that exits 1."""
    assert done.exit_code == 1, done.output
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
    return done.output[len("Error: ") : -1]


def test_photos_that_do_not_exist_are_refused_before_anything_is_made(photos: Path, crop: Crop) -> None:
    where = photos.parent
    assert refusal(crop("none", "out")) == f"none: no such file; check the path, which begins at {where}"
    assert refusal(crop("none.csv", "out")) == f"none.csv: no such file; check the path, which begins at {where}"
    assert not Path("out").exists()


def test_where_no_face_is_found_the_first_reason_is_told_and_out_can_be_used_again(photos: Path, crop: Crop) -> None:
    draw((64, 64), []).save("empty.png")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("empty.png")
    Path("missing.csv").write_text("path,age\na.png,31\nb.png,32\n")
    Path("ages.csv").write_text("path,age\nphotos/face.png,300\n")
    blank = Path("blank")
    blank.mkdir()
    (blank / "1.png").touch()
    Path("empty.png").rename(blank / "2.png")
    here = Path.cwd()
    for argument, told in (
        ("photos.zip", "photos.zip: not an image; give a folder, a photo or a CSV manifest"),
        ("missing.csv", f"none of 2 photos has a face that could be cut out; {here / 'a.png'}: no such file"),
        ("ages.csv", f"{here / 'photos' / 'face.png'}: line 2: age '300' is not from 0 to 116 years"),
        ("blank", "none of 2 photos has a face that could be cut out; blank/1.png: empty file"),
        ("blank/2.png", "blank/2.png: no face found"),
    ):
        assert refusal(crop(argument, "out")) == told
    assert crop(photos, "out").exit_code == 0


def test_a_photo_with_the_longest_name_is_cut_out(photos: Path, crop: Crop) -> None:
    (photos / "face.png").rename(photos / f"{'ä' * 125}.png")  # 254 bytes of the 255 that a file system takes
    assert crop(photos, "out", "--format", "png").exit_code == 0
    assert [path.name for path in Path("out", "chips").iterdir()] == [f"000001_{'ä' * 50}.png"]


def test_names_that_cannot_be_printed_become_ones_that_can(photos: Path, crop: Crop) -> None:
    name = os.fsdecode(b"a\xff\n.png")
    (photos / "face.png").rename(photos / name)
    assert crop(photos, "out").exit_code == 0
    with Path("out", "faces.csv").open(encoding="utf-8", newline="") as file:
        _, row = csv.reader(file)
    assert row == ["chips/000001_a__.jpg", f"{photos}/a\\xff\n.png", "1"]
    assert Path("out", row[0]).exists()


def test_a_stop_leaves_the_tables_of_what_was_done(photos: Path, detector: Path) -> None:
    for number in range(1000):  # five seconds of work; it is stopped at the first face
        (photos / f"{number:03}.png").hardlink_to(photos / "face.png")
    call = [str(program("agedetect")), "crop", str(photos), "out", "--detector", str(detector)]
    with subprocess.Popen(call, stderr=subprocess.PIPE, preexec_fn=listen_to_ctrl_c) as process:
        deadline = time.monotonic() + 60
        while not Path("out", "chips", "000001_000.jpg").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert (process.returncode, told) == (130, b"")
    _, *faces = csv.reader(Path("out", "faces.csv").read_text().splitlines())
    chips = {f"chips/{path.name}" for path in Path("out", "chips").iterdir()}
    assert 1 <= len(faces) < 1000
    assert chips >= {row[0] for row in faces}
    assert len(chips) - len(faces) <= 1  # one may be written and not yet listed
    assert Path("out", "not_found.csv").read_text() == "path,reason\n"
    assert Path("out", "contact_sheet.jpg").exists()


def test_an_out_that_cannot_be_made_is_named(photos: Path, crop: Crop) -> None:
    assert refusal(crop("photos/face.png", "photos/face.png/x")) == (
        "photos/face.png/x: cannot be written: not a directory"
    )
    name = "a" * 300
    assert refusal(crop("photos", name)) == f"{name}: cannot be written: file name too long"


def test_an_out_among_the_photos_is_refused(photos: Path, crop: Crop) -> None:
    Path("link").symlink_to(photos)
    for out in ("photos/out", "link/out"):
        told = refusal(crop("photos", out))
        assert told == f"{out}: is in photos, whose photos are read; choose a folder outside"
    assert [path.name for path in photos.iterdir()] == ["face.png"]


def test_files_omitted_by_suffix_are_told(photos: Path, crop: Crop) -> None:
    (photos / "film.mov").touch()
    done = crop("photos", "out")
    assert done.output == (
        "1 faces of 1 photos in out, 0 in not_found.csv, 1 file omitted by suffix (photos/film.mov)\n"
    )


@pytest.mark.filterwarnings("error")  # Pillow's then fails the photo
def test_pillow_says_nothing_of_large_photos(photos: Path, crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)  # the photo has 153,600
    assert crop("photos", "out").output == "1 faces of 1 photos in out, 0 in not_found.csv\n"
