"""`python -m benchmarks.clients MODEL FACES`: what other engines' arithmetic and other resizes cost, in years.

It takes a trained model and needs the extra `external`. Every row is compared with the runtime, face by face.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import cv2
import numpy as np
import openvino
from numpy.typing import NDArray

from agedetect_runtime import AgeEstimator
from agedetect_runtime.images import load_face, open_rgb
from agedetect_runtime.listing import walk_images
from benchmarks.rates import table

Faces = NDArray[np.uint8]  # (N, S, S, 3)
_RESIZES = ("INTER_LINEAR", "INTER_CUBIC", "INTER_LANCZOS4", "INTER_AREA")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("faces", type=click.Path(path_type=str))
@click.option("--int8", type=click.Path(path_type=Path), help="The same model in int8.")
def main(model: Path, faces: str, int8: Path | None) -> None:
    """Compare ages of FACES, whose largest centred squares are resized and whose ages other engines compute."""
    paths = list(walk_images(faces))
    rows = [*_resizes(model, paths), *_engines(model, paths)]
    if int8 is not None:
        rows += _engines(int8, paths)
    click.echo(table(["instead of the runtime", "years, mean", "p99", "worst"], rows), nl=False)


def _resizes(model: Path, paths: Sequence[str]) -> Iterator[list[str]]:
    estimator = AgeEstimator(model, device="cpu")
    size = estimator.spec.image_size
    squares = [_square(np.array(open_rgb(path))) for path in paths]
    wanted = _ages(estimator, _ours(estimator, paths))
    for name in _RESIZES:
        resized = [cv2.resize(square, (size, size), interpolation=getattr(cv2, name)) for square in squares]
        yield _row(f"OpenCV's {name}", _ages(estimator, np.stack(resized)), wanted)


def _engines(model: Path, paths: Sequence[str]) -> Iterator[list[str]]:
    estimator = AgeEstimator(model, device="cpu")
    faces = _ours(estimator, paths)
    wanted = _ages(estimator, faces)
    precision = estimator.spec.precision
    for name, hint in (("", {}), (" with the hint f32", {"INFERENCE_PRECISION_HINT": "f32"})):
        found = openvino.Core().compile_model(str(model), "CPU", hint)(faces)["age"]
        yield _row(f"OpenVINO{name}, {precision} model", found, wanted)
    if precision == "float32":
        net = cv2.dnn.readNetFromONNX(str(model))
        found = np.concatenate([_dnn(net, face[None]) for face in faces])
        yield _row("OpenCV's dnn, float32 model", found, wanted)


def _dnn(net: cv2.dnn.Net, face: Faces) -> NDArray[np.float32]:
    net.setInput(face)
    return np.ravel(net.forward(net.getUnconnectedOutLayersNames())[0])


def _ours(estimator: AgeEstimator, paths: Sequence[str]) -> Faces:
    return np.stack([load_face(path, estimator.spec.image_size, estimator.spec.resampling) for path in paths])


def _ages(estimator: AgeEstimator, faces: Faces) -> NDArray[np.float32]:
    return estimator.ages(faces).age


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def _row(name: str, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> list[str]:
    difference = np.abs(found - wanted)
    figures = (difference.mean(), np.percentile(difference, 99), difference.max())
    return [name, *(f"{figure:.2g}" for figure in figures)]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.clients")
