"""The figures show the numbers and the faces that they are given."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from agedetect.data.faces import Face
from agedetect.evaluation.metrics import measure
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.result import Context, evaluate_predictions
from agedetect.reports.figures import contact_sheet, residuals
from agedetect.reports.thumbnails import PIXELS, jpeg_uri, thumbnail, worst_faces
from agedetect.tracking.checkpoints import Epoch
from agedetect.training.curves import curves
from imaginary_faces import imaginary_faces

TRUE = np.array([5.0, 25.0, 27.0, 60.0])
PREDICTED = np.array([7.0, 24.0, 30.0, 50.0])
CONTEXT = Context(model="m", data="d", split="test", why="w")


def epochs() -> list[Epoch]:
    metrics = measure(TRUE, PREDICTED)
    return [Epoch(n, "head" if n == 1 else "all", 100.0 / n, 120.0 / n, metrics, 1e-3, 50.0) for n in (1, 2, 3)]


def test_the_curves_hold_both_losses_the_mae_and_the_accuracies() -> None:
    left, middle, right = curves(epochs()).axes
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in left.lines}
    assert drawn["training"] == [100.0, 50.0, pytest.approx(100 / 3)]
    assert drawn["validation"] == [120.0, 60.0, 40.0]
    assert np.asarray(middle.lines[0].get_ydata()).tolist() == [4.0, 4.0, 4.0]
    assert [np.asarray(line.get_ydata())[0] for line in right.lines[:2]] == [75.0, 100.0]


def test_the_residuals_count_every_face_in_its_year() -> None:
    errors = np.array([-70.0, -0.5, 0.0, 0.5, 0.5, 20.0, 41.0])  # some beyond the 20 years that are always shown
    faces = imaginary_faces([75.0] * len(errors))
    (axes,) = residuals(evaluate_predictions(Predictions.of(faces, 75 + errors), CONTEXT)).axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    counts = {bar.get_x(): bar.get_height() for bar in bars if bar.get_height()}
    assert counts == {-70: 1, -1: 1, 0: 3, 20: 1, 41: 1}
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == f"mean {errors.mean():+.2f}"


def coloured_faces(folder: Path) -> list[Face]:
    """One plain picture each, red to blue, so that a face is known by its colour."""
    faces = []
    for number, age in enumerate(TRUE):
        path = folder / f"{number}.png"
        Image.new("RGB", (300, 200), (80 * number, 0, 240 - 80 * number)).save(path)
        faces.append(Face(path, float(age), None, None, "", (300, 200)))
    return faces


def test_the_worst_faces_come_first_with_their_pictures(tmp_path: Path) -> None:
    worst = worst_faces(Predictions.of(coloured_faces(tmp_path), PREDICTED), count=3)
    assert [face.name for face in worst] == ["3.png", "2.png", "0.png"]
    captions = ["predicted 50, label 60", "predicted 30, label 27", "predicted 7, label 5"]
    assert [face.caption for face in worst] == captions
    assert [face.thumbnail.getpixel((0, 0)) for face in worst] == [(240, 0, 0), (160, 0, 80), (0, 0, 240)]
    assert {face.thumbnail.size for face in worst} == {(PIXELS, round(PIXELS * 200 / 300))}
    titles = [axes.get_title() for axes in contact_sheet(worst).axes]
    assert titles == captions + [""] * 5  # a row of eight


def test_a_face_that_can_no_longer_be_read_is_a_grey_tile(tmp_path: Path) -> None:
    faces = coloured_faces(tmp_path)
    faces[3].path.unlink()
    (tmp_path / "2.png").write_bytes(b"no image")
    worst = worst_faces(Predictions.of(faces, PREDICTED), count=2)
    assert [face.thumbnail.getcolors() for face in worst] == [[(PIXELS * PIXELS, (128, 128, 128))]] * 2


def test_a_thumbnail_in_a_page_is_the_face(tmp_path: Path) -> None:
    data = jpeg_uri(thumbnail(coloured_faces(tmp_path)[0].path)).removeprefix("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        # JPEG keeps a plain colour to a few levels
        assert np.abs(np.asarray(image, int) - (0, 0, 240)).max() <= 4
