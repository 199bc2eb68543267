"""`agedetect-export`: a model that MLflow knows -> one ONNX file, if it gives the same ages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from agedetect.errors import one_line_errors
from agedetect.tracking.address import Address
from agedetect.tracking.patience import limit_waiting
from agedetect_export.files import check_golden, description_path, exclusive, report_path
from agedetect_export.precision import MAE_BUDGET_YEARS, PRECISIONS
from agedetect_export.report import MIN_IMAGES, TOLERANCE_YEARS
from agedetect_runtime import AgedetectError
from agedetect_runtime.listing import is_folder
from agedetect_runtime.table import printable
from agedetect_runtime.terminal import Quantity, needs_extra


def _parse_source(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return Address.parse(value).uri
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _parse_folder(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """An empty value is none: MLproject's parameters all have one."""
    if not value:
        return None
    if not is_folder(value):
        raise click.BadParameter(f"{value}: no such folder", context, parameter)
    return Path(value)


def _parse_aliases(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(alias.strip() for alias in value.split(",") if alias.strip())


def _log(line: str) -> None:
    click.echo(printable(line), err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("source", callback=_parse_source)
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="ONNX file to write.",
)
@click.option(
    "--faces",
    callback=_parse_folder,
    help="Folder of face images to compare on, instead of the validation images of the model's run.",
)
@click.option("--images", type=click.IntRange(min=MIN_IMAGES), default=64, help="Number of images to compare on.")
@click.option(
    "--tolerance-years",
    type=Quantity(min=0, min_open=True, max=1),
    default=TOLERANCE_YEARS,
    help="Largest allowed difference between the ages.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=0),
    default=0,
    help="Expected size of the model's input in pixels: a model of another size is refused. 0: any.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=PRECISIONS[0],
    help="int8 is smaller, and faster on CPUs; it is calibrated on training images of the model's run.",
)
@click.option(
    "--mae-budget-years",
    type=Quantity(min=0, max=100),
    default=MAE_BUDGET_YEARS,
    help="Largest allowed increase of the validation MAE in int8: the upper end of its 95% interval counts.",
)
@click.option(
    "--resize-in-graph",
    is_flag=True,
    help="Take one decoded picture of any size, (1, H, W, 3) uint8: its centre square is resized inside the model.",
)
@click.option(
    "--golden",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write golden vectors to: drawn faces with their pixels and ages, to test a client with.",
)
@click.option(
    "--register",
    default="",
    show_default=False,
    metavar="NAME",
    help="Also register the file in MLflow under this name, as a model that takes pictures.",
)
@click.option(
    "--alias",
    default="",
    show_default=False,
    metavar="ALIAS[,...]",
    callback=_parse_aliases,
    help="With --register: aliases for the new version.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.version_option(package_name="agedetect")
def main(source: str, output: Path, golden: Path | None, force: bool, **options: Any) -> None:
    """Export SOURCE to one ONNX file, after checking on real images that it gives the same ages as torch.

    SOURCE is models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or an MLflow model folder. The
    parity report is printed, written next to the file as NAME.parity.json, and logged with the file to the
    model's run. NAME.onnx.json describes the file to clients that can't read its metadata. If the ages differ, or
    int8 may cost more accuracy than the budget, nothing is written and the exit code is 1.

    \b
    agedetect-export models:/agedetect@candidate --output model.onnx
    agedetect-export models:/agedetect@candidate --output small.onnx --precision int8
    agedetect-export models:/agedetect@candidate --output any_size.onnx --resize-in-graph --golden golden
    agedetect-export models:/agedetect@champion --output model.onnx --register agedetect-onnx --alias champion
    """
    if output.suffix != ".onnx":
        raise click.UsageError(f"{output}: give an --output that ends in .onnx")
    if not is_folder(output.parent):
        raise click.UsageError(f"{output}: there is no folder {output.parent}; create it first")
    with one_line_errors(), needs_extra("train"), exclusive(output):  # which undoes what a killed export left
        pass
    for path in (output, report_path(output), description_path(output)):
        if is_folder(path):
            raise click.UsageError(f"{path} is a folder; give another --output")
        if os.path.lexists(path) and not force:
            raise click.UsageError(f"{path} exists; give another --output, or --force to replace it")
    try:
        check_golden(golden, force=force)
    except AgedetectError as error:
        raise click.BadParameter(str(error), param_hint="--golden") from error
    if options["alias"] and not options["register"]:
        raise click.BadParameter("it needs --register", param_hint="'--alias'")
    limit_waiting()
    with one_line_errors():
        with needs_extra("train"):
            from agedetect import load_model
            from agedetect_export.export import ExportOptions, SizeError, export_model
        try:
            chosen = ExportOptions(**options, golden=golden, force=force)
            model = load_model(source)
            report = export_model(model, output, chosen, log=_log)
        except SizeError as error:
            raise click.BadParameter(str(error), param_hint="--image-size") from error
    click.echo(report.to_text())
    if report.precision:
        click.echo(report.precision.to_text())
    if golden:
        click.echo(printable(f"{golden}: golden vectors"))
    size = output.stat().st_size / 1e6
    click.echo(printable(f"{output}: {size:.1f} MB, from {model.name}"))
