"""A call of `agedetect-infer` from its settings to its closing line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.listing import Omitted, list_images
from agedetect_runtime.report import report_to
from agedetect_runtime.settings import Settings
from agedetect_runtime.tally import Tally
from agedetect_runtime.terminal import is_terminal, quiet_pillow

if TYPE_CHECKING:
    from agedetect_runtime.annotate import Annotator
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.estimator import AgeEstimator
    from agedetect_runtime.finding import Finding
    from agedetect_runtime.pagewriter import PageWriter


def run(settings: Settings) -> int:
    """The exit code. Raises AgedetectError for what can't be done, and where no image could be used."""
    settings.check_places()
    with quiet_pillow():
        omitted = Omitted(own=[path for _, path in settings.written])
        paths, total = list_images(settings.faces, sys.stdin.buffer if sys.stdin else None, omitted)
        if settings.find_faces and settings.detector is None:
            from agedetect_runtime.detectorfile import detector_file

            settings = replace(settings, detector=detector_file(quiet=settings.quiet))
        estimator = _open(settings)
        if settings.benchmark:
            _benchmark(estimator, paths, settings)
            return 0
        tally = _estimate(estimator, paths, total, settings, omitted)
    if tally.images == tally.failed:
        raise AgedetectError(tally.reason(listed=settings.faces == ("-",)))
    return 1 if settings.strict and tally.is_incomplete else 0


def _open(settings: Settings) -> AgeEstimator:
    from agedetect_runtime.estimate import check_at_least
    from agedetect_runtime.estimator import AgeEstimator

    estimator = AgeEstimator(
        settings.model,
        device=settings.device,
        threads=settings.threads,
        batch_size=settings.batch_size,
        image_seconds=settings.image_seconds,
        detector=settings.detector,
    )
    if settings.at_least is not None:
        check_at_least(estimator.spec, settings.at_least, settings.model.name)
    if estimator.cuda_note and not settings.quiet:  # only auto gets here without CUDA
        click.echo(f"Note: CUDA could not start: {estimator.cuda_note}", err=True)
    return estimator


def _estimate(
    estimator: AgeEstimator, paths: Iterable[str], total: int | None, settings: Settings, omitted: Omitted
) -> Tally:
    """Write every result, the closing line, and what else was asked for."""
    page = None if settings.report is None else _page_writer(settings.report, settings, estimator)
    annotator = None if settings.annotate is None else _annotator(settings.annotate, settings)
    passed_over = [omitted, *([annotator.missing] if annotator else [])]
    watchers = [*([page.sample.add] if page else []), *([annotator.add] if annotator else [])]
    with report_to(
        settings.file,
        paths,
        form=settings.format,
        coverage=estimator.spec.coverage,
        at_least=settings.at_least,
        metadata=None if settings.file is None else settings.metadata(estimator.digest),
        resume=settings.resume,
        faces=settings.find_faces,
    ) as report:
        before = report.done_before
        tally = Tally(before, report.failed_before, report.faces_before, done_before=before, omitted=passed_over)
        start = time.perf_counter()
        left = None if total is None else total - before
        with _progress(_answers(estimator, settings, report.missing), left, settings) as shown:
            for answer in shown:
                report.write(answer)
                tally.add(answer)
                for watch in watchers:
                    watch(answer)
        if not tally.images:
            raise AgedetectError("-: no paths on standard input")
        seconds = time.perf_counter() - start
    device = f"{estimator.device} ({estimator.provider})"
    closing = tally.closing_line(seconds, device, count_faces=settings.find_faces)
    if not settings.quiet or (settings.strict and tally.is_incomplete) or (annotator and annotator.missing.count):
        click.echo(closing, err=True)
    if page is not None:
        page.write(closing, before)
    return tally


def _page_writer(place: Path, settings: Settings, estimator: AgeEstimator) -> PageWriter:
    from agedetect_runtime.pagewriter import PageWriter

    return PageWriter(place, settings, estimator)


def _annotator(folder: Path, settings: Settings) -> Annotator:
    from agedetect_runtime.annotate import Annotator

    return Annotator(folder, settings.faces)


def _benchmark(estimator: AgeEstimator, paths: Iterable[str], settings: Settings) -> None:
    from agedetect_runtime.tuning import benchmark

    benchmark(estimator, paths, partial(_answers, estimator, settings))


def _answers(estimator: AgeEstimator, settings: Settings, paths: Iterator[str]) -> Iterator[Result | Finding]:
    probabilities = settings.at_least is not None
    if settings.find_faces:
        return estimator.find_many(paths, largest=settings.largest, probabilities=probabilities)
    return estimator.predict_many(paths, probabilities=probabilities)


@contextmanager
def _progress(
    results: Iterator[Result | Finding], total: int | None, settings: Settings
) -> Iterator[Iterable[Result | Finding]]:
    rows_are_seen = settings.file is None and is_terminal(sys.stdout)
    if settings.quiet or rows_are_seen or not is_terminal(sys.stderr):
        yield results  # nobody wants a bar, or sees one, or the rows themselves show how far it is
        return
    with click.progressbar(results, length=total, label="Ages", file=sys.stderr, show_pos=True) as bar:
        yield bar
