"""The logged program answers with one table; the graph gives its columns their names."""

from __future__ import annotations

import torch
from torch import Tensor

from agedetect_runtime import ModelSpec


class NamedColumns(torch.nn.Module):
    """faces, uint8 (B, S, S, 3) -> one tensor an output of `spec`, in its order: (B,) each, probabilities (B, K)."""

    def __init__(self, program: torch.nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.program, self.outputs = program, spec.outputs

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        table: Tensor = self.program(faces)
        years = len(self.outputs) - ("probabilities" in self.outputs)
        named = tuple(table[:, column] for column in range(years))
        return named if years == len(self.outputs) else (*named, table[:, years:])


def name_columns(program: torch.nn.Module, spec: ModelSpec) -> torch.nn.Module:
    """A program with the age alone already answers with (B,)."""
    return program if spec.outputs == ("age",) else NamedColumns(program, spec)
