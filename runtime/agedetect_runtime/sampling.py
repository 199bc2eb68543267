"""What a page shows of a job, in bounded memory: counts of everything, and a random sample of its rows."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Generic, TypeVar

from agedetect_runtime.rows import FaceRow, rows_of

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.finding import Finding

ROWS = 1_000  # with an age; their thumbnails are most of a page's size
FAILURES = 500
BIN_YEARS = 5
_REASONS = 100  # counted apart; some hold a number of their own, and ten million images might bring as many
OTHER_REASONS = "other reasons"

Item = TypeVar("Item")


class Reservoir(Generic[Item]):
    """At most `size` of the items that were added, in their order, each kept with the same probability.

    Vitter (1985), "Random sampling with a reservoir", algorithm R; the same items give the same sample.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._random = Random(0)
        self._kept: list[tuple[int, Item]] = []
        self.seen = 0

    def add(self, item: Item) -> None:
        self.seen += 1
        if len(self._kept) < self._size:
            self._kept.append((self.seen, item))
        elif (place := self._random.randrange(self.seen)) < self._size:
            self._kept[place] = (self.seen, item)

    @property
    def items(self) -> list[Item]:
        return [item for _, item in sorted(self._kept, key=itemgetter(0))]


class Sample:
    """Rows with an age and rows without, a sample of either; `bins` counts ages by BIN_YEARS, `reasons` failures."""

    def __init__(self) -> None:
        self.images = 0
        self.ages: Reservoir[FaceRow] = Reservoir(ROWS)
        self.failures: Reservoir[FaceRow] = Reservoir(FAILURES)
        self.bins: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()

    def add(self, answer: Result | Finding) -> None:
        """Count the rows of an image, and perhaps keep them."""
        self.images += 1
        for row in rows_of(answer):
            if row.result.error is None:
                self.bins[max(0, int(row.result.age // BIN_YEARS))] += 1
                self.ages.add(row)
            else:
                is_known = row.result.error in self.reasons or len(self.reasons) < _REASONS
                self.reasons[row.result.error if is_known else OTHER_REASONS] += 1
                self.failures.add(row)

    @property
    def rows(self) -> list[FaceRow]:
        """The sample: those with an age, then those without."""
        return [*self.ages.items, *self.failures.items]
