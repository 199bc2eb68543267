"""The table of a logged program -> the named outputs of the file."""

from __future__ import annotations

import torch

from agedetect_export.columns import name_columns
from agedetect_runtime import ModelSpec


class Table(torch.nn.Module):
    """Answers with the numbers 0, 1, 2, ... in so many columns, whatever the faces."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return torch.arange(len(faces) * self.columns, dtype=torch.float32).reshape(len(faces), self.columns)


def spec(**values: object) -> ModelSpec:
    known = {"image_size": 32, "resampling": "bilinear", "backbone": "tiny", "min_age": 0, "max_age": 4}
    return ModelSpec(**{**known, **values})  # type: ignore[arg-type]


FACES = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)


def test_an_interval_gives_three_rows_of_years():
    outputs = name_columns(Table(3), spec(coverage=0.9))(FACES)
    assert [output.tolist() for output in outputs] == [[0, 3], [1, 4], [2, 5]]


def test_a_distribution_gives_its_probabilities_last_and_whole():
    named = name_columns(Table(8), spec(coverage=0.9, head="distribution"))
    *years, probabilities = named(FACES)
    assert [output.tolist() for output in years] == [[0, 8], [1, 9], [2, 10]]
    assert probabilities.tolist() == [[3, 4, 5, 6, 7], [11, 12, 13, 14, 15]]


def test_a_program_of_the_age_alone_stays_as_it_is():
    program = Table(1)
    assert name_columns(program, spec()) is program
