"""`agedetect-infer`: ages for a folder of faces. Imports what is heavy only when there is work."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agedetect_runtime.about import print_about
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.listing import list_images
from agedetect_runtime.report import SUFFIXES, is_report, report_to
from agedetect_runtime.terminal import Quantity, is_terminal, one_line_errors

if TYPE_CHECKING:
    from agedetect_runtime.estimator import AgeEstimator, Estimate


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("faces", nargs=-1, required=True, type=click.Path(path_type=str, allow_dash=True, readable=False))
@click.option("--onnx", "model", required=True, type=click.Path(path_type=Path), help="Model file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this .csv or .jsonl file instead of standard output.",
)
@click.option("--resume", is_flag=True, help="Go on with the --output of a job that was stopped.")
@click.option(
    "--at-least",
    type=click.IntRange(min=1),
    metavar="YEARS",
    help="Also give the probability of being that old; for a model with a distribution head.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs; auto is CUDA where it works, else the CPU.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Images in one run of the model; ages don't depend on it.  [default: 8 on a CPU, 64 on CUDA]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads that open images and run the model.  [default: a thread for each core]",
)
@click.option(
    "--image-seconds",
    type=Quantity(min=0, min_open=True),
    default=30,
    show_default=True,
    help="Give up an image that takes longer than this to open.",
)
@click.option("--strict", is_flag=True, help="Exit 1 if any image failed.")
@click.option(
    "--about",
    type=click.Path(path_type=Path),
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=print_about,
    help="Print the model card of a model file, or what else it says about itself, and exit.",
)
@click.version_option(package_name="agedetect")
def main(
    faces: tuple[str, ...],
    model: Path,
    output: Path | None,
    resume: bool,
    at_least: int | None,
    device: str,
    batch_size: int | None,
    threads: int | None,
    image_seconds: float,
    strict: bool,
) -> None:
    """Estimate the age in each of FACES: images of one face, folders of them, or -, a list on standard input.

    The list has one path a line. The ages come as a table on a terminal and as CSV into a pipe. An image that
    can't be used gets a row with the reason, and the others go on. A model that knows how sure it is adds an
    interval to each age: 34 (27-42) in the table, the columns low and high in CSV and JSON lines.

    \b
    agedetect-infer faces/ --onnx model.onnx
    agedetect-infer faces/ --onnx model.onnx --output ages.csv
    agedetect-infer faces/ --onnx model.onnx --at-least 18
    find . -name '*.jpg' | agedetect-infer - --onnx model.onnx
    agedetect-infer --about model.onnx
    """
    if output is not None and not is_report(output):
        raise click.BadParameter(f"{output}: the suffix is none of {', '.join(SUFFIXES)}", param_hint="'--output'")
    if resume and output is None:
        raise click.BadParameter("it goes on with an --output, and none is given", param_hint="'--resume'")
    with one_line_errors(), _quiet_pillow():
        paths, total = list_images(faces, sys.stdin.buffer if sys.stdin else None)
        estimator = _open(
            model,
            device=device,
            threads=threads,
            batch_size=batch_size,
            at_least=at_least,
            image_seconds=image_seconds,
        )
        maker = {} if output is None else _maker(model, at_least)
        failed = _estimate(estimator, paths, total, output, maker, resume)
    if strict and failed:
        sys.exit(1)


def _open(model: Path, **options: Any) -> AgeEstimator:
    from agedetect_runtime.estimator import AgeEstimator

    estimator = AgeEstimator(model, **options)
    if estimator.cuda_note:  # only auto gets here without CUDA
        click.echo(f"Note: CUDA could not start: {estimator.cuda_note}", err=True)
    return estimator


def _maker(model: Path, at_least: int | None) -> dict[str, object]:
    """What rows depend on beside their images: rows of two makers don't go into one table."""
    from agedetect_runtime.providers import version_of

    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"model": digest, "--at-least": at_least, "version of agedetect": version_of("agedetect")}


def _estimate(
    estimator: AgeEstimator,
    paths: Iterable[str],
    total: int | None,
    output: Path | None,
    maker: dict[str, object],
    resume: bool,
) -> int:
    """Write every estimate and the closing line; the number of images that failed."""
    count = 0
    spec, at_least = estimator.spec, estimator.at_least
    with report_to(output, paths, coverage=spec.coverage, at_least=at_least, maker=maker, resume=resume) as report:
        failed = report.kept_failed
        start = time.perf_counter()
        left = None if total is None else total - report.kept
        with _progress(estimator.predict_many(report.missing), left, output) as estimates:
            for estimate in estimates:
                report.write(estimate)
                count += 1
                failed += estimate.error is not None
        if not count + report.kept:
            raise AgedetectError("-: no paths on standard input")
    rate = count / (time.perf_counter() - start)
    all_images = count + report.kept
    images = "image" if all_images == 1 else "images"
    kept = f" ({report.kept} of them before)" if report.kept else ""
    device = f"{estimator.device} ({estimator.provider})"
    click.echo(f"{all_images} {images}{kept}, {failed} failed, {rate:.1f} images/s on {device}", err=True)
    return failed


@contextmanager
def _progress(estimates: Iterator[Estimate], total: int | None, output: Path | None) -> Iterator[Iterable[Estimate]]:
    if not is_terminal(sys.stderr) or (output is None and is_terminal(sys.stdout)):
        yield estimates  # nobody sees a bar, or the table itself shows how far it is
        return
    with click.progressbar(estimates, length=total, label="Ages", file=sys.stderr, show_pos=True) as bar:
        yield bar


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow warns and logs about odd files on stderr; what makes an image unusable stands in its row."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
