"""`agedetect-export`: a model that MLflow knows -> one ONNX file, if it gives the same ages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from agedetect_export.address import Address
from agedetect_export.files import disk_errors, report_path
from agedetect_export.precision import MAE_BUDGET_YEARS, PRECISIONS
from agedetect_export.report import MIN_IMAGES, TOLERANCE_YEARS
from agedetect_runtime.listing import is_folder
from agedetect_runtime.terminal import Quantity, needs_extra, one_line_errors


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
    type=Quantity(min=0, min_open=True, max=1),
    default=TOLERANCE_YEARS,
    help="The largest difference that passes.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=0),
    default=0,
    help="The size in pixels that you expect the model to have been trained at: another one is refused. 0: any.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=PRECISIONS[0],
    help="int8 is smaller, and faster on CPUs; it is calibrated on training images of the source's run.",
)
@click.option(
    "--mae-budget-years",
    type=Quantity(min=0, max=100),
    default=MAE_BUDGET_YEARS,
    help="What int8 may add to the MAE on the validation images: the upper end of the 95% interval counts.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@click.version_option(package_name="agedetect")
def main(source: str, output: Path, force: bool, **wishes: Any) -> None:
    """Write SOURCE as one ONNX file, after comparing its ages with torch's on real images.

    SOURCE is models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or an MLflow model folder. The
    report is printed, written beside the file as NAME.parity.json, and logged with the file to the source's
    run. If the ages differ, or int8 may cost more than the budget, nothing is written and the exit code is 1.

    \b
    agedetect-export models:/agedetect@candidate --output model.onnx
    agedetect-export models:/agedetect@candidate --output small.onnx --precision int8
    """
    if output.suffix != ".onnx":
        raise click.UsageError(f"{output}: give an --output that ends in .onnx")
    if not is_folder(output.parent):
        raise click.UsageError(f"{output}: there is no folder {output.parent}; create it first")
    for path in (output, report_path(output)):
        if is_folder(path):
            raise click.UsageError(f"{path} is a folder; give another --output")
        if os.path.lexists(path) and not force:
            raise click.UsageError(f"{path} exists; give another --output, or --force to replace it")
    with one_line_errors(), disk_errors(output):
        with needs_extra("train"):
            from agedetect_export.export import SizeError, Wish, export
        try:
            export(Wish(source=source, output=output, **wishes))
        except SizeError as error:
            raise click.BadParameter(str(error), param_hint="--image-size") from error
