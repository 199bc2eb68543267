"""The face detector YuNet: one ONNX file, run on pixels, its outputs decoded with NumPy.

Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023), as github.com/ShiqiYu/libfacedetection.train
exports it and OpenCV's zoo keeps it (face_detection_yunet_2023mar.onnx): the two differ in that OpenCV's takes
640 x 640 pixels and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime import providers
from agedetect_runtime.ending import inside_onnx_runtime
from agedetect_runtime.errors import ModelError, ProviderError
from agedetect_runtime.inference import first_line, open_inference
from agedetect_runtime.modelsource import Model, ModelSource

REMEDY = "give a YuNet file with --detector, such as OpenCV's face_detection_yunet_2023mar.onnx"

_STRIDES = (8, 16, 32)  # pixels from one anchor to the next
_COLUMNS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # of its outputs, which are named cls_8, cls_16, ...
_OUTPUTS = [f"{kind}_{stride}" for kind in _COLUMNS for stride in _STRIDES]


@dataclass(frozen=True)
class Candidates:
    """What may be faces: boxes (N, 4) as left, top, width, height; landmarks (N, 5, 2); scores (N,) from 0 to 1.

    In pixels, float32. The landmarks are the eyes, the nose and the corners of the mouth, left to right as seen.
    """

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]

    def take(self, chosen: NDArray[np.generic]) -> Candidates:
        """By indices, or by a mask."""
        return Candidates(self.boxes[chosen], self.landmarks[chosen], self.scores[chosen])

    @classmethod
    def joined(cls, parts: list[Candidates]) -> Candidates:
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def moved(self, scale: float, left: float = 0, top: float = 0) -> Candidates:
        """Scaled, then shifted: from pixels of a part of a picture to those of the whole."""
        corner = np.array([left, top], np.float32)
        boxes = self.boxes * np.float32(scale)
        boxes[:, :2] += corner
        return Candidates(boxes, self.landmarks * np.float32(scale) + corner, self.scores)


@dataclass(frozen=True)
class YuNet:
    """An open detector, on the CPU: a run stays on the thread that calls it, and many threads may run it at once.

    `window` is the only (height, width) that it takes; None: any.
    """

    source: ModelSource
    window: tuple[int, int] | None
    _session: Any

    @classmethod
    def open(cls, model: Model) -> YuNet:
        """Raises ModelError, beginning with the file's name, for anything but a YuNet detector."""
        runtime = providers.load_runtime()
        source = ModelSource.checked(model, REMEDY)
        session = open_inference(runtime, source, [providers.CPU], any_shape=True)
        window = _window(session, source)
        source.require_unchanged()
        return cls(source, window, session)

    def open_again(self) -> YuNet:
        """The same file, in a forked child. Raises ModelError where it has changed."""
        self.source.require_unchanged()
        return YuNet.open(self.source.place)

    def candidates(self, pixels: NDArray[np.uint8], min_score: float) -> Candidates:
        """(H, W, 3) RGB, not larger than `window` -> what scores so much, in no order and with many a face twice.

        Raises ProviderError where ONNX Runtime fails, for example out of memory.
        """
        image = _input(pixels, self.window)
        try:
            with inside_onnx_runtime():
                outputs = self._session.run(_OUTPUTS, {self._session.get_inputs()[0].name: image})
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise ProviderError(f"ONNX Runtime failed on {self.source.name}: {first_line(error)}") from error
        return decode(dict(zip(_OUTPUTS, outputs, strict=True)), image.shape[3], min_score)


def decode(outputs: Mapping[str, NDArray[np.float32]], width: int, min_score: float) -> Candidates:
    """Outputs for one image so many pixels wide -> candidates in its pixels.

    An anchor lies at each (column, row) of a grid; of its outputs, the box is its centre's offset and the logarithm of
    its size, a landmark an offset, all in strides. The score is the geometric mean of two probabilities, as in
    OpenCV's FaceDetectorYN. Offsets that are not finite numbers are no candidates.
    """
    return Candidates.joined([_of_stride(outputs, stride, width, min_score) for stride in _STRIDES])


def _of_stride(outputs: Mapping[str, NDArray[np.float32]], stride: int, width: int, min_score: float) -> Candidates:
    face, thing, boxes, landmarks = (outputs[f"{kind}_{stride}"][0] for kind in _COLUMNS)
    scores = np.sqrt(np.clip(face[:, 0], 0, 1) * np.clip(thing[:, 0], 0, 1))
    (likely,) = np.nonzero(scores >= min_score)
    rows, columns = np.divmod(likely, width // stride)
    anchors = np.stack([columns, rows], axis=1).astype(np.float32)
    with np.errstate(over="ignore"):
        sizes = np.exp(boxes[likely, 2:]) * stride
        centres = (anchors + boxes[likely, :2]) * stride
        points = (anchors[:, None] + landmarks[likely].reshape(-1, 5, 2)) * stride
    found = Candidates(np.concatenate([centres - sizes / 2, sizes], axis=1), points, scores[likely])
    numbers = np.concatenate([found.boxes, found.landmarks.reshape(-1, 10)], axis=1)
    return found.take(np.isfinite(numbers).all(axis=1))


def _input(pixels: NDArray[np.uint8], window: tuple[int, int] | None) -> NDArray[np.float32]:
    """float32 (1, 3, H, W), BGR from 0 to 255, black below and on the right up to whole strides, or the window."""
    height, width = pixels.shape[:2]
    step = _STRIDES[-1]
    rows, columns = window or (-(-height // step) * step, -(-width // step) * step)
    image = np.zeros((1, 3, rows, columns), np.float32)
    image[0, :, :height, :width] = pixels[..., ::-1].transpose(2, 0, 1)
    return image


def _window(session: Any, source: ModelSource) -> tuple[int, int] | None:
    """What the graph takes; raises ModelError where it isn't YuNet's."""
    problems = list(_problems(session.get_inputs(), session.get_outputs()))
    if problems:
        raise ModelError(f"{source.name}: no YuNet detector, since {problems[0]}; {REMEDY}")
    height, width = session.get_inputs()[0].shape[2:]
    return (height, width) if isinstance(height, int) else None


def _problems(inputs: list[Any], outputs: list[Any]) -> Iterator[str]:
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or inputs[0].type != "tensor(float)" or shape[1] != 3 or shape[0] not in (1, *_names(shape)):
        yield "its input is not float32 (1, 3, height, width)"
    elif isinstance(shape[2], int) != isinstance(shape[3], int):
        yield "only one side of its input is fixed"
    elif isinstance(shape[2], int) and (shape[2] % _STRIDES[-1] or shape[3] % _STRIDES[-1] or not shape[2] * shape[3]):
        yield f"its input of {shape[3]} x {shape[2]} pixels is not in whole strides of {_STRIDES[-1]}"
    given = {node.name: node for node in outputs}
    for name in _OUTPUTS:
        columns = _COLUMNS[name.partition("_")[0]]
        if name not in given or given[name].type != "tensor(float)" or given[name].shape[2:] != [columns]:
            yield f"it has no output {name}, float32 (1, anchors, {columns})"


def _names(shape: list[Any]) -> list[str]:
    return [length for length in shape if isinstance(length, str)]
