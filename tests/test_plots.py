"""The figures show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from agedetect.data.faces import Face
from agedetect.evaluation.metrics import measure
from agedetect.reports import plots
from agedetect.training.phases import Epoch

TRUE = np.array([5.0, 25.0, 27.0, 60.0])
PREDICTED = np.array([7.0, 24.0, 30.0, 50.0])


def epochs() -> list[Epoch]:
    metrics = measure(TRUE, PREDICTED)
    return [Epoch(n, "head" if n == 1 else "all", 100.0 / n, 120.0 / n, metrics, 1e-3, 50.0) for n in (1, 2, 3)]


def test_the_curves_hold_both_losses_the_mae_and_the_accuracies():
    left, middle, right = plots.curves(epochs()).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in left.lines}
    assert drawn["training"] == [100.0, 50.0, pytest.approx(100 / 3)]
    assert drawn["validation"] == [120.0, 60.0, 40.0]
    assert list(middle.lines[0].get_ydata()) == [4.0, 4.0, 4.0]
    assert [line.get_ydata()[0] for line in right.lines[:2]] == [75.0, 100.0]


def test_the_worst_errors_come_first(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "face.png")
    faces = [Face(tmp_path / "face.png", age, None, None, "", (20, 20)) for age in TRUE]
    titles = [axes.get_title() for axes in plots.worst_errors(faces, PREDICTED, count=2).axes]
    assert titles[:2] == ["said 50, label 60", "said 30, label 27"]


def test_the_residuals_show_every_face():
    (axes,) = plots.residuals(TRUE, PREDICTED).axes
    assert sum(bar.get_height() for bar in axes.patches) == 4
