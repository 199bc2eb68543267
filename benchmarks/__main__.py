"""`python -m benchmarks`: prints every table of docs/performance.md that needs no trained model."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from agedetect_runtime.cores import usable_cores
from benchmarks import choices, end_to_end, first_result, loops, material, memory

_PARTS = ("chips", "photos", "loops", "first", "memory", "choices")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--part", "parts", type=click.Choice(_PARTS), multiple=True, default=_PARTS, help="May be repeated.")
@click.option("--backbone", default="mobilenet_v2")
@click.option("--image-size", type=click.IntRange(min=32), default=128)
@click.option("--chips", "chip_count", type=click.IntRange(min=1), default=20_000, help="200 px faces, end to end.")
@click.option("--photos", "photo_count", type=click.IntRange(min=1), default=300, help="12-megapixel photos.")
@click.option("--loop-chips", type=click.IntRange(min=1), default=2_000, help="Faces for each of the loops.")
@click.option("--starts", type=click.IntRange(min=1), default=7, help="Processes for the time to the first result.")
@click.option("--paths", type=click.IntRange(min=1), default=1_000_000, help="Paths for the memory.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="Rounds that the images are divided into.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("bench"), help="Models and faces are kept here."
)
def main(
    parts: tuple[str, ...],
    backbone: str,
    image_size: int,
    chip_count: int,
    photo_count: int,
    loop_chips: int,
    starts: int,
    paths: int,
    rounds: int,
    folder: Path,
) -> None:
    """Measure the runtime: every table's figures come from one run, its contenders taken in turns."""
    model = material.onnx_model(folder, backbone, image_size)
    faces, kind = material.chips(folder, max(chip_count, loop_chips))
    reports: dict[str, Callable[[], str]] = {
        "chips": lambda: end_to_end.report(model, faces[:chip_count], rounds),
        "photos": lambda: end_to_end.report(model, material.photos(folder, photo_count), rounds),
        "loops": lambda: loops.report(model, faces[:loop_chips], rounds),
        "first": lambda: first_result.report(model, faces[0], starts),
        "memory": lambda: memory.report(material.instant_model(folder), paths),
        "choices": lambda: choices.report(model, faces[:loop_chips], rounds),
    }
    click.echo(f"{_machine()}\n{backbone} at {image_size} px, {kind}")
    for part in parts:
        click.echo(f"\n### {part}\n\n{reports[part]()}", nl=False)


def _machine() -> str:
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "pillow", "torch"))
    cores = usable_cores()
    return f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores, {names[0] if names else platform.machine()}, {versions}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
