"""`agedetect-infer`: ages for a folder of faces. Heavy imports wait until there is work."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from agedetect_runtime.about import print_about
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.listing import Omitted, list_images
from agedetect_runtime.report import SUFFIXES, is_report, report_to
from agedetect_runtime.rows import rows_of
from agedetect_runtime.terminal import Quantity, is_terminal, one_line_errors

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Result
    from agedetect_runtime.estimator import AgeEstimator
    from agedetect_runtime.finding import Finding


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("faces", nargs=-1, required=True, type=click.Path(path_type=str, allow_dash=True, readable=False))
@click.option("--onnx", "model", required=True, type=click.Path(path_type=Path), help="Model file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this .csv or .jsonl file instead of standard output.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted job with the same --output.")
@click.option(
    "--at-least",
    type=click.IntRange(min=1),
    metavar="YEARS",
    help="Also give the probability of being that old or older; needs a model with a distribution head.",
)
@click.option(
    "--find-faces",
    is_flag=True,
    help="Find the faces in each image and give each a row; without it an image is one face, cut as in training.",
)
@click.option("--largest", is_flag=True, help="With --find-faces: only the largest face of each image.")
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    help="With --find-faces: a YuNet file.  [default: downloaded once to the user's cache]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs; auto is CUDA if it works, else the CPU.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images per run of the model; the ages don't depend on it.  [default: 8 on a CPU, 64 on CUDA]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads that open images and run the model.  [default: one per core]",
)
@click.option(
    "--image-seconds",
    type=Quantity(min=0, min_open=True),
    default=30,
    show_default=True,
    help="Time limit for opening one image; beyond it, the image counts as failed.",
)
@click.option("--strict", is_flag=True, help="Exit 1 if any image failed, or a file of a folder was omitted.")
@click.option(
    "--about",
    type=click.Path(path_type=Path),
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=print_about,
    help="Print the model card stored in a model file, or its metadata if it has none, and exit.",
)
@click.version_option(package_name="agedetect")
def main(
    faces: tuple[str, ...],
    model: Path,
    output: Path | None,
    resume: bool,
    at_least: int | None,
    find_faces: bool,
    largest: bool,
    detector: Path | None,
    device: str,
    batch_size: int | None,
    threads: int | None,
    image_seconds: float,
    strict: bool,
) -> None:
    """Estimate the age in each of FACES: images of one face, folders of them, or -, a list on standard input.

    With --find-faces they are any photos, and each face in them gets a row, the largest first.

    The list has one path per line. A terminal gets a table, a pipe gets CSV. An image that can't be used gets a row
    with the reason, and does not stop the others. A model with intervals adds one to each age: 34 (27-42) in the
    table, the columns low and high in CSV and JSON lines.

    \b
    agedetect-infer faces/ --onnx model.onnx
    agedetect-infer faces/ --onnx model.onnx --output ages.csv
    agedetect-infer faces/ --onnx model.onnx --at-least 18
    agedetect-infer photos/ --onnx model.onnx --find-faces
    find . -name '*.jpg' | agedetect-infer - --onnx model.onnx
    agedetect-infer --about model.onnx
    """
    if output is not None and not is_report(output):
        raise click.BadParameter(f"{output}: the suffix is not one of {', '.join(SUFFIXES)}", param_hint="'--output'")
    if resume and output is None:
        raise click.BadParameter("it needs the --output of the interrupted job", param_hint="'--resume'")
    for name, value in (("largest", largest), ("detector", detector)):
        if value and not find_faces:
            raise click.BadParameter("it needs --find-faces", param_hint=f"'--{name}'")
    with one_line_errors(), _quiet_pillow():
        omitted = Omitted()
        paths, total = list_images(faces, sys.stdin.buffer if sys.stdin else None, omitted)
        if find_faces and detector is None:
            from agedetect_runtime.detectorfile import detector_file

            detector = detector_file()
        estimator = _open(
            model,
            at_least,
            device=device,
            threads=threads,
            batch_size=batch_size,
            image_seconds=image_seconds,
            detector=detector,
        )
        failed = _estimate(estimator, paths, total, _Job(model, output, at_least, resume, detector, largest), omitted)
    if strict and (failed or omitted.count):
        sys.exit(1)


class _Job(NamedTuple):
    """`detector` is None where each image is one face."""

    model: Path
    output: Path | None
    at_least: int | None
    resume: bool
    detector: Path | None
    largest: bool

    def metadata(self) -> dict[str, object]:
        """What the rows depend on besides the images: rows of two models don't go into one table."""
        from agedetect_runtime.providers import version_of

        known: dict[str, object] = {
            "model": _digest(self.model),
            "--at-least": self.at_least,
            "version of agedetect": version_of("agedetect"),
        }
        if self.detector is None:
            return known
        return {**known, "detector": _digest(self.detector), "--largest": self.largest}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(model: Path, at_least: int | None, **options: Any) -> AgeEstimator:
    from agedetect_runtime.estimate import check_at_least
    from agedetect_runtime.estimator import AgeEstimator

    estimator = AgeEstimator(model, **options)
    if at_least is not None:
        check_at_least(estimator.spec, at_least, model.name)
    if estimator.cuda_note:  # only auto gets here without CUDA
        click.echo(f"Note: CUDA could not start: {estimator.cuda_note}", err=True)
    return estimator


def _estimate(estimator: AgeEstimator, paths: Iterable[str], total: int | None, job: _Job, omitted: Omitted) -> int:
    """Write every result and the closing line; the number of images that failed."""
    count = faces = 0
    metadata = None if job.output is None else job.metadata()
    coverage, at_least, find = estimator.spec.coverage, job.at_least, job.detector is not None
    with report_to(
        job.output, paths, coverage=coverage, at_least=at_least, metadata=metadata, resume=job.resume, faces=find
    ) as report:
        failed = report.failed_before
        start = time.perf_counter()
        left = None if total is None else total - report.done_before
        with _progress(_answers(estimator, report.missing, job), left, job.output) as shown:
            for answer in shown:
                report.write(answer)
                count += 1
                rows = rows_of(answer)
                failed += any(row.result.error is not None for row in rows)
                faces += sum(row.face is not None for row in rows)
        if not count + report.done_before:
            raise AgedetectError("-: no paths on standard input")
    rate = count / (time.perf_counter() - start)
    all_images = count + report.done_before
    images = "image" if all_images == 1 else "images"
    before = f" ({report.done_before} of them done before)" if report.done_before else ""
    found = f", {faces} {'face' if faces == 1 else 'faces'} found" if find else ""
    also = f", {omitted}" if omitted.count else ""
    device = f"{estimator.device} ({estimator.provider})"
    click.echo(
        f"{all_images} {images}{before}, {failed} failed{found}{also}, {rate:.1f} images/s on {device}", err=True
    )
    return failed


def _answers(estimator: AgeEstimator, paths: Iterator[str], job: _Job) -> Iterator[Result | Finding]:
    probabilities = job.at_least is not None
    if job.detector is None:
        return estimator.predict_many(paths, probabilities=probabilities)
    return estimator.find_many(paths, largest=job.largest, probabilities=probabilities)


@contextmanager
def _progress(
    results: Iterator[Result | Finding], total: int | None, output: Path | None
) -> Iterator[Iterable[Result | Finding]]:
    if not is_terminal(sys.stderr) or (output is None and is_terminal(sys.stdout)):
        yield results  # nobody sees a bar, or the table itself shows how far it is
        return
    with click.progressbar(results, length=total, label="Ages", file=sys.stderr, show_pos=True) as bar:
        yield bar


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow warns and logs about odd files on stderr; the reason why an image can't be used is in its row."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
