"""MLflow's generic (`pyfunc`) view of an exported model: a table of pictures in, a table of ages out.

MLflow imports this module by its name and calls `_load_pyfunc`; nothing here imports MLflow, and nothing was pickled.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agedetect_runtime.errors import ImageError, ModelError
from agedetect_runtime.estimate import check_at_least
from agedetect_runtime.estimator import AgeEstimator
from agedetect_runtime.modelfile import FileVersion, version_of
from agedetect_runtime.rows import layout, rows_of
from agedetect_runtime.sources import Source

if TYPE_CHECKING:
    import pandas as pd

MODEL, DETECTOR = "model.onnx", "detector.onnx"  # in the folder that MLflow passes
COLUMN = "image"
CONFIG = {"device": "auto", "threads": 0, "paths": True}  # what MLflow's `model_config` can change; 0: one per core

_LONGEST_PATH = 4096  # characters
_DATA_URI = re.compile(r"data:[^,]{0,100};base64,")
_BEGINNING = 24  # characters of base64, which are 18 bytes
# JPEG, PNG, GIF, WebP, TIFF, BMP, PNM, ICO, JPEG 2000, AVIF and HEIF: what a shorter text must be the base64 of
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF|II\*\0|MM\0\*|BM|P[1-6]\s|\0\0\x01\0|\xff\x4f\xff\x51|\0\0\0.(?:jP|ftyp)",
    re.DOTALL,
)


class PicturesToAges:
    """A column `image` -> the columns of `agedetect-infer` but for the name: age, low, high (years), error.

    An image is a path, the bytes of an image file, or these in base64; one that can't be used has the reason in
    `error`, and the others are None. `params`: with `at_least` there is a column with the probability of that age, with
    `find_faces` an image is a photo, whose largest face is found and aligned. Raises ModelError for an `at_least` that
    the model can't answer.
    """

    def __init__(self, estimator: AgeEstimator, *, paths: bool = True) -> None:
        self._estimator, self._paths = estimator, paths

    def predict(self, pictures: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        import pandas as pd

        at_least, find_faces = (params or {}).get("at_least"), (params or {}).get("find_faces", False)
        if at_least is not None:
            check_at_least(self._estimator.spec, at_least, MODEL)
        sources = (self._source(cell) for cell in pictures[COLUMN])
        probabilities = at_least is not None
        answers = (
            self._estimator.find_many(sources, largest=True, probabilities=probabilities)
            if find_faces
            else self._estimator.predict_many(sources, probabilities=probabilities)
        )
        table = layout(at_least, faces=False)
        rows = [table.cells(row)[1:] for answer in answers for row in rows_of(answer)]
        columns = list(zip(*rows, strict=True)) or [()] * (len(table.columns) - 1)
        # JSON has no NaN: what is missing stays None
        series = {
            name: pd.Series(values, index=pictures.index, dtype=object if None in values else None)
            for name, values in zip(table.columns[1:], columns, strict=True)
        }
        return pd.DataFrame(series)

    def _source(self, cell: Any) -> Source:
        """An open file for an encoded image, whose bytes no message then repeats."""
        if isinstance(cell, bytes | bytearray | memoryview):
            return io.BytesIO(cell)
        if cell is None or isinstance(cell, float):  # a table's NaN
            return _Refused("no image: an empty cell")
        if not isinstance(cell, str):
            source: Source = cell  # loading says what it is
            return source
        try:
            data = decoded(cell)
        except ImageError as error:
            return _Refused(str(error))
        if data is None:
            return cell if self._paths else _Refused("not base64 of an image, and paths are not opened")
        return io.BytesIO(data)


class _Refused:
    """An open file that gives a reason instead of bytes."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, _: int = -1, /) -> bytes:
        raise ImageError(self._reason)


def decoded(text: str) -> bytes | None:
    """The bytes of an image in base64, with or without `data:image/jpeg;base64,` before it; None for a path.

    A text is base64 if it begins as that of an image does, or if it is longer than a path can be. Raises ImageError for
    base64 that is damaged.
    """
    prefix = _DATA_URI.match(text)
    digits = "".join(text[prefix.end() if prefix else 0 :].split())
    if not (prefix or len(digits) > _LONGEST_PATH or _begins_like_an_image(digits)):
        return None
    try:
        return base64.b64decode(digits, validate=True)
    except ValueError as error:
        raise ImageError("damaged base64") from error


def _begins_like_an_image(digits: str) -> bool:
    try:
        beginning = base64.b64decode(digits[: min(_BEGINNING, len(digits) // 4 * 4)], validate=True)
    except ValueError:
        return False
    return _PICTURE.match(beginning) is not None


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> PicturesToAges:
    """Called by MLflow with the folder of the model's files. A model that is loaded again in a process is the same one.

    Raises ModelError for a file that is no model of ours, and for a `paths` that is neither true nor false.
    """
    config = {**CONFIG, **(model_config or {})}
    if not isinstance(config["paths"], bool):
        raise ModelError(f"model_config: paths is {config['paths']!r}; give true or false")
    file = Path(data_path) / MODEL
    estimator = _open(file, version_of(file.stat()), str(config["device"]), int(config["threads"]))
    return PicturesToAges(estimator, paths=config["paths"])


@lru_cache(maxsize=1)
def _open(file: Path, version: FileVersion, device: str, threads: int) -> AgeEstimator:
    """A Spark worker loads its model for every partition."""
    detector = file.with_name(DETECTOR)
    return AgeEstimator(file, device=device, threads=threads or None, detector=detector if detector.is_file() else None)
