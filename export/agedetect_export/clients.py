"""What a client in another language needs beside the model: a description, and golden vectors to test itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from agedetect.synthetic.portrait import draw_face
from agedetect_export.files import EARLIER, GOLDEN, check_golden, left_behind, locked
from agedetect_export.report import TOLERANCE_YEARS
from agedetect_runtime import AgeEstimator, ModelSpec
from agedetect_runtime.images import load_face
from agedetect_runtime.spec import PICTURE

_SEED = 12


def describe(model: Path, spec: ModelSpec) -> str:
    """What the metadata of `model` say, for clients that can't read them, as JSON with the file's digest."""
    size, batch = spec.image_size, 1 if spec.input == PICTURE else "batch"
    shape = [1, "height", "width", 3] if spec.input == PICTURE else [batch, size, size, 3]
    columns = {"probabilities": [spec.bins]}
    outputs = [
        {"name": name, "type": "float32", "shape": [batch, *columns.get(name, [])], "unit": _unit(name)}
        for name in spec.outputs
    ]
    return _json(
        {
            "file": model.name,
            "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
            **asdict(spec),
            "input": {"name": spec.input, "type": "uint8", "shape": shape, "colours": "RGB"},
            "outputs": outputs,
        }
    )


def _unit(output: str) -> str:
    return "probability of min_age + k years" if output == "probabilities" else "years"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


@contextmanager
def whole_folder(place: Path | None, *, force: bool) -> Iterator[Path | None]:
    """A folder to fill, which is at `place` once the body is through; None for None.

    Raises AgedetectError where something is there; with `force`, earlier golden vectors are replaced. Those that a
    killed export was replacing are put back first.
    """
    if place is None:
        yield None
        return
    with locked(place):
        for left in left_behind(place):
            if (left / EARLIER).is_dir() and not place.exists():
                (left / EARLIER).replace(place)
            shutil.rmtree(left)
        check_golden(place, force=force)
        with TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as name:
            made = Path(name) / "made"
            made.mkdir()
            yield made
            if place.exists():
                place.replace(Path(name) / EARLIER)
            made.replace(place)


def write_golden(model: Path, folder: Path) -> None:
    """Drawn faces in `folder`: each as a PNG, as raw pixels, as the model's face, and the ages in `golden.json`.

    Raw files are bytes RGB, row after row, so that no client needs a decoder for its test.
    """
    estimator = AgeEstimator(model, device="cpu")
    spec = estimator.spec
    vectors = []
    for index, picture in enumerate(_pictures(spec.image_size)):
        name = f"{index}_{picture.width}x{picture.height}"
        picture.save(folder / f"{name}.png")
        (folder / f"{name}.rgb").write_bytes(picture.tobytes())
        face = load_face(picture, spec.image_size, spec.resampling)
        (folder / f"{name}.face.rgb").write_bytes(face.tobytes())
        estimate = estimator.predict(picture)
        ages = {"age": estimate.age, "low": estimate.low, "high": estimate.high}
        files = {"picture": f"{name}.png", "pixels": f"{name}.rgb", "face": f"{name}.face.rgb"}
        vectors.append({**files, "width": picture.width, "height": picture.height, **ages})
    about = {"image_size": spec.image_size, "resampling": spec.resampling, "coverage": spec.coverage}
    source = {"model": model.name, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    golden = {**source, **about, "tolerance_years": TOLERANCE_YEARS, "vectors": vectors}
    (folder / GOLDEN).write_text(_json(golden), encoding="utf-8")


def _pictures(size: int) -> Iterator[Image.Image]:
    """Drawn faces of several ages and shapes: as the chips are, the model's size, smaller, broad, tall, large."""
    shapes = ((200, 200), (size, size), (size // 2 + 1, size // 2 + 4), (333, 222), (151, 268), (641, 480))
    for index, (shape, age) in enumerate(zip(shapes, (3, 16, 29, 44, 61, 83), strict=True)):
        side = min(shape)
        face = draw_face(age, index % 2, index % 5, np.random.default_rng((_SEED, index)))
        picture = Image.new("RGB", shape, (40 * index, 90, 200 - 30 * index))
        picture.paste(face.resize((side, side)), ((shape[0] - side) // 2, (shape[1] - side) // 2))
        yield picture
