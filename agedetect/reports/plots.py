"""The figures of a run. Matplotlib's object interface: no global state, no display."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agedetect.data.faces import Face
from agedetect_runtime.images import load_face

Years = NDArray[np.float64]


def residuals(true: Years, predicted: Years) -> Figure:
    figure, axes = _single("residuals on the test split", "predicted minus true age (years)", "images")
    error = predicted - true
    width = max(20.0, float(np.ceil(np.abs(error).max())))
    axes.hist(error, bins=np.arange(-width, width + 1).tolist(), color="tab:blue", alpha=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvline(float(error.mean()), color="tab:red", label=f"mean {error.mean():+.2f}")
    axes.legend()
    return figure


def worst_errors(faces: Sequence[Face], predicted: Years, *, count: int = 24) -> Figure:
    """A contact sheet: the faces with the largest errors, the worst first; often the label is what is wrong."""
    true = np.array([face.age for face in faces])
    order = np.argsort(-np.abs(predicted - true), kind="stable")[:count]
    columns = 8
    rows = -(-len(order) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.8 * rows), layout="constrained")
    for axes, index in zip(figure.subplots(rows, columns, squeeze=False).flat, order, strict=False):
        axes.imshow(load_face(faces[index].path, 128, "bilinear"))
        axes.set_title(f"said {predicted[index]:.0f}, label {true[index]:.0f}", fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def _single(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes
