"""`agedetect-infer`: ages for a folder of faces. Heavy imports wait until there is work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from agedetect_runtime.about import print_about
from agedetect_runtime.blocks import return_freed_images
from agedetect_runtime.job import run
from agedetect_runtime.report import FORMATS
from agedetect_runtime.settings import Settings
from agedetect_runtime.terminal import Quantity, one_line_errors


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("faces", nargs=-1, required=True, type=click.Path(path_type=str, allow_dash=True, readable=False))
@click.option("--onnx", "model", required=True, type=click.Path(path_type=Path), help="Model file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write to this .csv, .jsonl, .json or .parquet file, or to - (standard output) also where that is a terminal.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="What to write; Parquet needs pyarrow.  [default: the output's suffix; csv on standard output]",
)
@click.option("--force", is_flag=True, help="Replace an --output or --report that exists already.")
@click.option(
    "--resume", is_flag=True, help="Continue an interrupted job with the same --output; a --report is replaced."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write an HTML page: thumbnails with ages to sort and filter, a histogram, the reasons of failures.",
)
@click.option(
    "--annotate",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also write copies of the images with their ages and, with --find-faces, boxes into a new folder.",
)
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
@click.option(
    "--benchmark",
    is_flag=True,
    help="Only find the fastest --batch-size and --threads for these images on this machine: a minute or so.",
)
@click.option("--strict", is_flag=True, help="Exit 1 also if one image failed or has no copy, or a file was omitted.")
@click.option(
    "--quiet", is_flag=True, help="Print no progress, notes or closing line, only errors and why --strict exits 1."
)
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
def main(**options: Any) -> None:
    """Estimate the age in each of FACES: images of one face, folders of them, or -, a list on standard input.

    With --find-faces they are any photos, and each face in them gets a row, the largest first.

    The list has one path per line. A terminal gets a table, a pipe gets CSV. An image that can't be used gets a row
    with the reason, and does not stop the others. A model with intervals adds one to each age: 34 (27-42) in the
    table, the columns low and high everywhere else.

    \b
    agedetect-infer faces/ --onnx model.onnx
    agedetect-infer faces/ --onnx model.onnx --output ages.csv
    agedetect-infer faces/ --onnx model.onnx --at-least 18
    agedetect-infer photos/ --onnx model.onnx --find-faces --report ages.html --annotate copies
    find . -name '*.jpg' | agedetect-infer - --onnx model.onnx
    agedetect-infer --about model.onnx
    """
    return_freed_images()
    settings = Settings(**options)
    with one_line_errors():
        code = run(settings)
    if code:
        sys.exit(code)
