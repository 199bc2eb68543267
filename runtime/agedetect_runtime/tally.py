"""How many images a job had, how many failed, and what is said about it at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agedetect_runtime.listing import Omitted
from agedetect_runtime.remedies import nothing_worked
from agedetect_runtime.rows import rows_of

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.finding import Finding


@dataclass
class Tally:
    """What became of the images: `failed` have no age, `done_before` have rows of the job that is resumed.

    `omitted` are the files that have no row, and the images that have no copy.
    """

    images: int = 0
    failed: int = 0
    faces: int = 0
    done_before: int = 0
    first_failure: tuple[str, str] | None = None  # path and reason
    omitted: Sequence[Omitted] = ()

    def add(self, answer: Result | Finding) -> None:
        rows = rows_of(answer)
        reason = next((row.result.error for row in rows if row.result.error is not None), None)
        self.images += 1
        self.failed += reason is not None
        self.faces += sum(row.face is not None for row in rows)
        if reason is not None and self.first_failure is None:
            self.first_failure = str(answer.source), reason

    @property
    def is_incomplete(self) -> bool:
        return self.failed > 0 or any(files.count for files in self.omitted)

    def closing_line(self, seconds: float, device: str, *, count_faces: bool) -> str:
        images = "image" if self.images == 1 else "images"
        before = f" ({self.done_before} of them done before)" if self.done_before else ""
        found = f", {self.faces} {'face' if self.faces == 1 else 'faces'} found" if count_faces else ""
        also = "".join(f", {files}" for files in self.omitted if files.count)
        rate = (self.images - self.done_before) / seconds
        return f"{self.images} {images}{before}, {self.failed} failed{found}{also}, {rate:.1f} images/s on {device}"

    def reason(self, *, listed: bool) -> str:
        """Why no image could be used."""
        if self.first_failure is None:  # in the job that was resumed
            return "no image could be used; the reasons are in their rows"
        return nothing_worked(*self.first_failure, self.images, listed=listed)
