"""Where an audit sees the faces: how far off the template they are, by hand, on a detector of red squares."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from agedetect.cli import main
from agedetect.data.faces import read_faces
from agedetect.data.placement import OFF, Placement, placement
from agedetect.reports.audit_text import placement_lines
from agedetect_runtime import detectorfile
from agedetect_runtime.download import KnownFile
from agedetect_runtime.spec import UTKFACE_TEMPLATE
from agedetect_runtime.yunet import YuNet
from tiny_detector import draw, write_tiny_detector

MIDDLE = np.linalg.norm(np.array(UTKFACE_TEMPLATE) - 0.5, axis=1).mean()  # of the landmarks, from the middle


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny.onnx")


def faces_at(folder: Path, *squares: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Path:
    """A picture for each square: left, top, side. One of 32 at (16, 16) fills its picture as the template's does."""
    folder.mkdir()
    for number, square in enumerate(squares):
        photo = draw(size, [square] if square[2] else [])
        photo.putpixel((0, 0), (0, 0, number))
        photo.save(folder / f"30_0_0_{number}.png")
    return folder


@pytest.mark.parametrize(
    ("size", "square", "distance"),
    [
        ((160, 160), (64, 64, 32), 0.6 * MIDDLE),  # 0.4 times as large as on the template
        ((64, 64), (32, 32, 32), 16 / 64 * 2**0.5),  # a quarter of the side too far right and down
        ((128, 64), (64, 32, 32), 16 / 64 * 2**0.5),  # the same in the centre square of a wide picture
    ],
)
def test_the_distance_is_a_share_of_the_centre_square(
    size: tuple[int, int], square: tuple[int, int, int], distance: float, tmp_path: Path, detector: Path
) -> None:
    faces = read_faces(faces_at(tmp_path / "faces", square, size=size)).faces
    found = placement(faces, YuNet.open(detector))
    assert (found.pictures, found.found) == (1, 1)
    assert (found.lower, found.median, found.upper) == pytest.approx((distance,) * 3, abs=1e-4)  # float32 landmarks
    assert found.is_off


CENTRED = (32, 32, 32)  # in 96 pixels: two thirds as large as on the template, so a third of the way to the middle


def test_median_and_quartiles_are_those_of_the_faces_that_are_found(tmp_path: Path, detector: Path) -> None:
    """Three faces in the middle, one half as large beside it, and a picture without any."""
    folder = faces_at(tmp_path / "faces", *[CENTRED] * 3, (64, 48, 16), (0, 0, 0), size=(96, 96))
    beside = (np.array(UTKFACE_TEMPLATE) * 32 + (56, 40)) / 96 - UTKFACE_TEMPLATE
    distances = [MIDDLE / 3] * 3 + [np.linalg.norm(beside, axis=1).mean()]
    found = placement(read_faces(folder).faces, YuNet.open(detector))
    assert (found.pictures, found.found) == (5, 4)
    assert (found.lower, found.median) == pytest.approx((MIDDLE / 3,) * 2, abs=1e-4)
    assert found.upper == pytest.approx(np.quantile(distances, 0.75), abs=1e-4)
    assert found.upper > MIDDLE / 3 + 0.01


def test_a_sample_is_of_so_many_pictures(tmp_path: Path, detector: Path) -> None:
    faces = read_faces(faces_at(tmp_path / "faces", *[CENTRED, (0, 0, 0)] * 4, size=(96, 96))).faces
    found = placement(faces, YuNet.open(detector), count=5)
    assert found.pictures == 5
    assert 1 <= found.found <= 4
    assert found == placement(faces, YuNet.open(detector), count=5)


# What the audit says


def audit(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def test_faces_that_are_cut_otherwise_are_said_with_the_remedy(tmp_path: Path, detector: Path) -> None:
    folder, out = faces_at(tmp_path / "faces", CENTRED, CENTRED, (0, 0, 0), size=(96, 96)), tmp_path / "out"
    done = audit(folder, "--detector", detector, "--output", out)
    assert done.exit_code == 0, done.output
    said = "Landmarks lie 7.5% of the side from the template (median of 2 faces; half of them 7.5% to 7.5%);"
    remedy = "(more than 6% off): crop them again with `agedetect crop`, or evaluate with --find-faces"
    page = " ".join((out / "audit.html").read_text().split())
    for text in (done.output, page):
        assert f"{said} no face was found in 1 of 3 sampled pictures (tiny.onnx)." in text
        assert remedy in text
    values = json.loads((out / "audit.json").read_text())["placement"]
    assert (values["pictures"], values["found"], values["median"]) == (3, 2, pytest.approx(MIDDLE / 3, abs=1e-4))


def test_faces_in_their_place_need_no_remedy() -> None:
    found = Placement(detector="d.onnx", pictures=9, found=9, median=OFF, lower=0.02, upper=0.07)
    assert len(placement_lines(found)) == 1
    assert len(placement_lines(replace(found, median=OFF + 0.001))) == 2


def test_pictures_without_any_face_are_said(tmp_path: Path, detector: Path) -> None:
    done = audit(faces_at(tmp_path / "faces", (0, 0, 0)), "--detector", detector, "--output", tmp_path / "out")
    assert "No face was found in 1 sampled pictures (tiny.onnx): are they drawings" in done.output
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["placement"]["median"] is None


def test_without_a_detector_it_says_what_was_not_checked_and_downloads_nothing(
    tmp_path: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = faces_at(tmp_path / "faces", CENTRED, size=(96, 96)), tmp_path / "cache"
    monkeypatch.setenv("AGEDETECT_CACHE", str(cache))
    monkeypatch.setattr("agedetect_runtime.detectorfile.fetch", lambda *_: pytest.fail("downloaded"))
    cache.mkdir()
    for _ in range(2):  # with nothing in the cache, then with another file there
        done = audit(folder, "--output", tmp_path / "out")
        assert done.exit_code == 0, done.output
        assert "no face detector was given, and none with the expected SHA-256 is in the cache." in done.output
        assert json.loads((tmp_path / "out" / "audit.json").read_text())["placement"] is None
        (cache / "yunet_n_dynamic.onnx").write_bytes(b"junk")
    data = detector.read_bytes()
    (cache / "yunet_n_dynamic.onnx").write_bytes(data)
    monkeypatch.setattr(detectorfile, "YUNET", KnownFile("", hashlib.sha256(data).hexdigest(), len(data)))
    assert "from the template (median of 1 faces" in audit(folder, "--output", tmp_path / "out").output


def test_a_detector_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = audit(tmp_path, "--detector", tmp_path / "none.onnx", "--output", tmp_path / "out")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Error: none.onnx: cannot be read: no such file or directory; give a YuNet file")


def test_a_user_without_a_home_has_no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.delenv("AGEDETECT_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert detectorfile.cached_detector() is None
