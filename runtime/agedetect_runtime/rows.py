"""What a row says: the age of an image, or that of one face of a photo."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Failure, Result
    from agedetect_runtime.finding import Finding, FoundFace

Cells = tuple[str | float | None, ...]  # the file's name, then numbers, then the error


class FaceRow(NamedTuple):
    """A row before it is written: `number` counts the faces of a photo from 1, and is None where none was found.

    Without a search for faces an image has one row, and neither number nor face.
    """

    result: Result
    number: int | None = None
    face: FoundFace | None = None


class Layout(NamedTuple):
    """A table's columns, and what a row has in them."""

    columns: tuple[str, ...]
    cells: Callable[[FaceRow], Cells]


def rows_of(written: Result | Finding) -> list[FaceRow]:
    """The rows of one image, at least one."""
    from agedetect_runtime.finding import Finding

    if not isinstance(written, Finding):
        return [FaceRow(written)]
    if not written.faces:
        return [FaceRow(_failure(written))]
    return [FaceRow(face.estimate, number, face) for number, face in enumerate(written.faces, 1)]


def layout(at_least: int | None, *, faces: bool) -> Layout:
    """With `faces` a row says which face of a photo it is and where; `at_least` adds the probability of that age."""
    asked = () if at_least is None else (f"at_least_{at_least}",)
    where = ("face", "x", "y", "width", "height", "score") if faces else ()

    def cells(row: FaceRow) -> Cells:
        place = _place(row) if faces else ()
        return (str(row.result.source), *place, *_ages(row.result, at_least), row.result.error)

    return Layout(("file", *where, "age", "low", "high", *asked, "error"), cells)


def _place(row: FaceRow) -> Cells:
    """The box to a tenth of a pixel."""
    if row.face is None:
        return (None,) * 6
    return (row.number, *(round(length, 1) for length in row.face.box), round(row.face.score, 3))


def _ages(result: Result, at_least: int | None) -> Cells:
    """To three decimals: in years, the tolerance of the exporter's parity check."""
    asked: tuple[float | None, ...] = ()
    if at_least is not None:
        asked = (result.at_least(at_least) if result.error is None else None,)
    numbers = (result.age, result.low, result.high, *asked)
    return tuple(None if number is None else round(number, 3) for number in numbers)


def _failure(finding: Finding) -> Failure:
    from agedetect_runtime.estimate import Failure

    return Failure(finding.source, finding.error or "")
