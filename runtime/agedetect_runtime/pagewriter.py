"""`--report`: watches the results of a job go by, and writes the page about them at its end."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agedetect_runtime.atomic import check_place, write_whole
from agedetect_runtime.page import page
from agedetect_runtime.providers import version_of
from agedetect_runtime.sampling import Sample
from agedetect_runtime.settings import Settings
from agedetect_runtime.table import level_text
from agedetect_runtime.thumbnails import thumbnails

if TYPE_CHECKING:
    from agedetect_runtime.estimator import AgeEstimator
    from agedetect_runtime.spec import ModelSpec


class PageWriter:
    """Give every result to `sample.add`, then call `write`."""

    def __init__(self, place: Path, settings: Settings, estimator: AgeEstimator) -> None:
        """Raises AgedetectError where the page can't be written: before the job, not behind it."""
        check_place(place)
        self._place, self._settings, self._estimator = place, settings, estimator
        self._digest = estimator.digest  # of the model that is open: its file may be another by the end
        self.sample = Sample()

    def write(self, summary: str, done_before: int) -> None:
        """The page, whole. Raises AgedetectError where it can't be written."""
        estimator, settings = self._estimator, self._settings
        pictures = thumbnails(self.sample.rows, threads=estimator.threads, image_seconds=settings.image_seconds)
        facts = {
            "model": f"{settings.model.name}: {_described(estimator.spec)}",
            "model's SHA-256": self._digest,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by agedetect {version_of('agedetect')}",
        }
        if done_before:
            facts["not shown"] = f"{done_before:,} images that were done before the job was resumed"
        text = page(
            self.sample,
            pictures,
            facts,
            summary=summary,
            coverage=estimator.spec.coverage,
            at_least=settings.at_least,
            faces=settings.find_faces,
        )
        write_whole(self._place, text)


def _described(spec: ModelSpec) -> str:
    intervals = (
        "no intervals" if spec.coverage is None else f"intervals of {level_text(spec.coverage)} nominal coverage"
    )
    run = f", run {spec.provenance['run_id']}" if "run_id" in spec.provenance else ""
    return f"{spec.backbone}, {spec.image_size} px, {intervals}{run}"
