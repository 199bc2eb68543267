"""The runtime's preprocessing of a decoded picture inside the model, for clients that have no Pillow.

Pillow (src/libImaging/Resample.c) resamples in two passes, along the rows and then along the columns. Each is a product
with a matrix of coefficients of 22 binary digits after the point, and is rounded to whole levels. Here a coefficient is
split into halves of 11 digits, of which float32 holds every product and sum exactly: the pixels are Pillow's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import onnx
import torch
from onnx import compose

from agedetect_export import convert
from agedetect_runtime import ModelSpec
from agedetect_runtime.spec import FACES, PICTURE

_DIGITS = 2**22
_HALF = 2**11  # of the digits


class CentreSquare(torch.nn.Module):
    """One picture, uint8 (1, H, W, 3), of any size -> its centre square at `size` pixels, uint8 (1, S, S, 3)."""

    def __init__(self, size: int, resampling: str) -> None:
        super().__init__()
        self.size = size
        self.kernel = {"bilinear": _bilinear, "bicubic": _bicubic}[resampling]

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        height, width = picture.shape[1:3]
        side = cast("int", torch.sym_min(height, width))  # a name while it is traced
        pixels = torch.arange(side)
        rows = picture.index_select(1, pixels + (height - side) // 2)
        square = rows.index_select(2, pixels + (width - side) // 2)
        planes = square.permute(0, 3, 1, 2).float()
        high, low = self._coefficients(pixels, side)
        narrow = _levels(planes @ high.T, planes @ low.T)
        face = _levels(high @ narrow, low @ narrow)
        return face.permute(0, 2, 3, 1).to(torch.uint8)

    def _coefficients(self, pixels: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(S, side) each: the weights of a row's pixels, in units of 2^-11 and, what remains, in 2^-22."""
        outputs = torch.arange(self.size)[:, None]
        reach = cast("int", torch.sym_max(side, self.size))
        distance = ((2 * pixels + 1) * self.size - (2 * outputs + 1) * side).abs().double() / (2 * reach)
        weights = self.kernel(distance)
        fixed = (weights / weights.sum(1, keepdim=True) * _DIGITS + 0.5).floor()
        high = (fixed / _HALF + 0.5).floor()
        return high.float(), (fixed - _HALF * high).float()


def _levels(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """floor((2^11 high + low) / 2^22 + 1/2) in whole numbers that float32 holds, clipped to a byte."""
    return ((high + _HALF / 2 + (low / _HALF).floor()) / _HALF).floor().clamp(0, 255)


def _bilinear(distance: torch.Tensor) -> torch.Tensor:
    return (1 - distance).clamp(min=0)


def _bicubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -1/2."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = -0.5 * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


def write_with_resize(model_path: Path, spec: ModelSpec, path: Path) -> None:
    """Write the model at `model_path`, whose input is faces, to `path` with one picture as its input.

    `spec` says so: its `input` is PICTURE. Raises ModelError where the graph breaks the contract.
    """
    model = onnx.load(model_path, load_external_data=False)
    before = _traced(spec)
    before.ir_version = model.ir_version
    joined = compose.merge_models(compose.add_prefix(before, "resize/"), model, [("resize/" + FACES, FACES)])
    joined.graph.input[0].name = PICTURE
    del joined.graph.value_info[:]  # shapes of any batch
    for output in joined.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    for node in joined.graph.node:
        node.input[:] = [PICTURE if name == "resize/" + PICTURE else name for name in node.input]
    convert.save(joined, spec, path)


def _traced(spec: ModelSpec) -> onnx.ModelProto:
    """Of no particular size: the example's sides differ from each other and from S."""
    example = torch.zeros((1, spec.image_size + 5, spec.image_size + 9, 3), dtype=torch.uint8)
    sides = {1: torch.export.Dim("height"), 2: torch.export.Dim("width")}
    program = CentreSquare(spec.image_size, spec.resampling).eval()
    return convert.to_onnx(program, example, sides, inputs=[PICTURE], outputs=[FACES])
