"""`agedetect-export`: a model that MLflow knows -> one ONNX file, if it gives the same ages."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from agedetect_export.address import Address
from agedetect_export.report import MIN_IMAGES, TOLERANCE_YEARS
from agedetect_runtime import AgedetectError, ModelSpec
from agedetect_runtime.table import printable
from agedetect_runtime.terminal import needs_extra, one_line_errors

if TYPE_CHECKING:
    from agedetect_export.registry import Source
    from agedetect_export.report import ParityReport


def _parse_source(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return Address.parse(value).uri
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _parse_folder(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """An empty value is none: MLproject's parameters all have one."""
    if not value:
        return None
    if not os.path.isdir(value):  # noqa: PTH112 (Path's raises where a parent folder is closed)
        raise click.BadParameter(f"{value}: no such folder", context, parameter)
    return Path(value)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("source", callback=_parse_source)
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
@click.option(
    "--faces",
    callback=_parse_folder,
    help="Folder of face images to compare on, instead of the validation images of the source's run.",
)
@click.option("--images", type=click.IntRange(min=MIN_IMAGES), default=64, help="Compare on so many images.")
@click.option(
    "--tolerance-years",
    type=click.FloatRange(min=0, min_open=True, max=1),
    default=TOLERANCE_YEARS,
    help="The largest difference that passes.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@click.version_option(package_name="agedetect")
def main(source: str, output: Path, faces: Path | None, images: int, tolerance_years: float, force: bool) -> None:
    """Write SOURCE as one ONNX file, after comparing its ages with torch's on real images.

    SOURCE is models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or an MLflow model folder. The
    report is printed, written beside the file as NAME.parity.json, and logged with the file to the source's
    run. If the ages differ, nothing is written and the exit code is 1.

    \b
    agedetect-export models:/agedetect@candidate --output model.onnx
    """
    if output.suffix != ".onnx":
        raise click.UsageError(f"{output}: give an --output that ends in .onnx")
    if not os.path.isdir(output.parent):  # noqa: PTH112
        raise click.UsageError(f"{output}: there is no folder {output.parent}; create it first")
    for path in (output, report_path(output)):
        if os.path.isdir(path):  # noqa: PTH112
            raise click.UsageError(f"{path} is a folder; give another --output")
        if os.path.lexists(path) and not force:
            raise click.UsageError(f"{path} exists; give another --output, or --force to replace it")
    with one_line_errors(), _disk_errors(output):
        export(source, output, faces=faces, images=images, tolerance_years=tolerance_years)


def export(uri: str, output: Path, *, faces: Path | None, images: int, tolerance_years: float) -> None:
    """What the command does once its arguments are sound. Raises AgedetectError, and `output` is as it was.

    Everything is made in a folder beside `output`; the finished files are moved to their places, and taken
    back where MLflow then doesn't take them.
    """
    from agedetect_runtime import AgeEstimator

    with needs_extra("train"):
        from agedetect_export import convert, parity, registry
        from agedetect_export.faces import from_folder, from_run

    _say(f"loading {uri}")
    source = registry.load_source(uri)
    paths = from_folder(faces, images) if faces else from_run(registry.validation_faces(source), images)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as name:
        folder = Path(name)
        model, report_file = folder / output.name, report_path(folder / output.name)
        _say(f"converting {source.label}")
        convert.convert(source.program, source.spec, model)
        _say(f"comparing on {len(paths)} images")
        report = parity.compare(source.program, source.spec, model, paths, tolerance_years=tolerance_years)
        click.echo(report.to_text())
        if not report.passed:
            raise parity.ParityError(f"{output} was not written: parity failed: {printable(report.failures[0])}")
        convert.write_spec(model, _with_provenance(source, report))
        AgeEstimator(model, device="cpu")  # what was compared had no provenance yet: open the very bytes that ship
        report_file.write_text(report.to_json(), encoding="utf-8")
        with _in_place({model: output, report_file: report_path(output)}, folder / "earlier"):
            if source.tracked:
                registry.log_export(source, [output, report_path(output)], report)
            else:
                _say(f"not logged: the model's run is not in {registry.tracking_uri()}")
    click.echo(printable(f"{output}: {output.stat().st_size / 1e6:.1f} MB, from {source.label}"))


def report_path(output: Path) -> Path:
    """Where the report of an export to `output` is written."""
    return output.with_suffix(".parity.json")


def _with_provenance(source: Source, report: ParityReport) -> ModelSpec:
    """No date and no path: the same model exports to the same bytes on the same machine.

    Elsewhere the measured differences, some 1e-5 years, vary with the processor and the number of threads.
    """
    origin = {"run_id": source.run_id, "registered_model": source.name, "version": source.version}
    provenance = {**source.spec.provenance, "source": origin, "parity": report.summary()}
    return dataclasses.replace(source.spec, provenance=provenance)


@contextmanager
def _in_place(places: Mapping[Path, Path], aside: Path) -> Iterator[None]:
    """Move each made file to its place; where that or the body fails, every place is as it was.

    `aside` keeps the earlier files meanwhile, on the same file system.
    """
    aside.mkdir()
    try:
        for made, place in places.items():
            if os.path.lexists(place):
                place.replace(aside / place.name)
            made.replace(place)
        yield
    except BaseException:
        for made, place in places.items():
            if os.path.lexists(aside / place.name):
                (aside / place.name).replace(place)
            elif not made.exists():
                place.unlink(missing_ok=True)
        raise


@contextmanager
def _disk_errors(output: Path) -> Iterator[None]:
    """A full disk or a read-only folder is the user's to mend: AgedetectError."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = f"{error.strerror or error}{where}"
        raise AgedetectError(f"{output}: cannot be written: {reason}; mend that or give another --output") from error


def _say(line: str) -> None:
    click.echo(printable(line), err=True)
