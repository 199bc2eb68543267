"""Size and speed of every backbone at every image size, float32 and int8, and what int8 costs a trained one.

    python -m benchmarks.models                                   # speed and size; random weights are as fast
    python -m benchmarks.models --trained models:/agedetect@candidate    # and MAE, and the plot against peers

On two threads, batches in memory. The two precisions take turns, and the best of their times counts: what else
runs on the machine can only slow a batch down.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from agedetect.models.conformal import QuantileLayer
from agedetect.models.inference import CalibratedModel
from agedetect.models.model import build_model
from agedetect.synthetic.faces import draw_face
from agedetect.tracking.reading import load_registered_model
from agedetect_export import compression, convert
from agedetect_export.precision import MAE_BUDGET_YEARS
from agedetect_export.quantize import quantize
from agedetect_runtime import AgeEstimator, ModelSpec
from agedetect_runtime.images import load_face
from agedetect_runtime.spec import MAX_AGE, MIN_AGE
from benchmarks.peers import Point, plot

BACKBONES = ("mobilenet_v2", "efficientnet_b0", "resnet34", "resnet50")
SIZES = (96, 128, 160, 224)
BATCHES = (8, 32)
CALIBRATION_FACES = 16  # drawn: enough to have ranges, and the speed doesn't depend on them

Faces = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One file: its size, and the rate of its bare session at each of BATCHES."""

    precision: str
    megabytes: float
    images_per_second: tuple[float, ...]


@click.command(context_settings={"show_default": True})
@click.option("--backbone", "backbones", multiple=True, type=click.Choice(BACKBONES), default=BACKBONES)
@click.option("--size", "sizes", multiple=True, type=int, default=SIZES)
@click.option("--threads", type=click.IntRange(min=1), default=2)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=2.0, help="For each file and batch size.")
@click.option("--trained", multiple=True, help="A registered model, such as models:/agedetect@candidate; repeatable.")
@click.option("--figure", type=click.Path(path_type=Path), default=Path("docs/figures/speed_and_error.png"))
def main(
    backbones: tuple[str, ...],
    sizes: tuple[int, ...],
    threads: int,
    seconds: float,
    trained: tuple[str, ...],
    figure: Path,
) -> None:
    """Print the tables, as Markdown."""
    click.echo("| backbone | px | precision | MB | images/s, batch 8 | batch 32 | int8 / float32 |")
    click.echo("|---|---|---|---|---|---|---|")
    for backbone, size in itertools.product(backbones, sizes):
        with TemporaryDirectory() as name:
            files = untrained(backbone, size, Path(name))
            both = measure(files, draw_batch(size), threads=threads, seconds=seconds)
        for item in both:
            ratio = max(
                now / before for now, before in zip(item.images_per_second, both[0].images_per_second, strict=True)
            )
            rates = " | ".join(f"{rate:,.0f}" for rate in item.images_per_second)
            click.echo(f"| {backbone} | {size} | {item.precision} | {item.megabytes:.1f} | {rates} | {ratio:.2f} |")
    if trained:
        points = [point for uri in trained for point in measure_trained(uri, threads=threads, seconds=seconds)]
        plot(points, figure)


def untrained(backbone: str, size: int, folder: Path) -> list[Path]:
    """float32.onnx and int8.onnx of a model with random weights, made by the exporter's own code."""
    torch.manual_seed(0)
    model = build_model(backbone, "none").eval()
    spec = ModelSpec(
        image_size=size,
        resampling=model.resampling,
        backbone=backbone,
        min_age=MIN_AGE,
        max_age=MAX_AGE,
        coverage=0.9,
        head="distribution",
    )
    program = CalibratedModel(model, QuantileLayer(0.9)).eval()
    exact, reduced = folder / "float32.onnx", folder / "int8.onnx"
    convert.convert(program, spec, exact)
    convert.save(quantize(onnx.load(exact), draw_batch(size)[:CALIBRATION_FACES]), spec, reduced)
    return [exact, reduced]


def draw_batch(size: int) -> Faces:
    faces = [draw_face(age, 1, 0, np.random.default_rng(age), size) for age in range(1, 1 + max(BATCHES))]
    return np.stack([np.asarray(face) for face in faces])


def measure(files: list[Path], faces: Faces, *, threads: int, seconds: float) -> list[Measured]:
    """The files take turns, so that whatever slows the machine slows all of them."""
    estimators = [AgeEstimator(file, device="cpu", threads=threads) for file in files]
    rates = []
    for batch in BATCHES:
        runs = [partial(item.ages, faces[:batch]) for item in estimators]
        rates.append([batch / spent for spent in best_seconds(runs, seconds)])
    return [
        Measured(
            precision=file.stem,
            megabytes=file.stat().st_size / 1e6,
            images_per_second=tuple(rate[index] for rate in rates),
        )
        for index, file in enumerate(files)
    ]


def best_seconds(runs: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """The shortest time of each run, over `seconds` for each."""
    for run in runs:
        run()
    best = [float("inf")] * len(runs)
    until = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < until:
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def measure_trained(uri: str, *, threads: int, seconds: float) -> Iterator[Point]:
    """Convert and quantize as the exporter does; the MAE is on the run's validation faces."""
    trained = load_registered_model(uri)
    faces = compression.run_faces(trained)
    with TemporaryDirectory() as name:
        exact, reduced = Path(name) / "float32.onnx", Path(name) / "int8.onnx"
        convert.convert(trained.network, trained.spec, exact)
        report = compression.compress(
            exact,
            reduced,
            trained.spec,
            faces,
            budget_years=MAE_BUDGET_YEARS,
            log=lambda line: click.echo(line, err=True),
        )
        click.echo(f"\n{trained.name}: {trained.spec.backbone} at {trained.spec.image_size} px\n\n{report.to_text()}\n")
        paths = [path for path, _ in faces.validation[: 8 * max(BATCHES)]]
        batch = np.stack(
            [load_face(path, trained.spec.image_size, trained.spec.resampling) for path in paths[: max(BATCHES)]]
        )
        bare = measure([exact, reduced], batch, threads=threads, seconds=seconds)
        calls = one_by_one([exact, reduced], paths, predict_each, threads=threads, seconds=seconds)
        streams = one_by_one([exact, reduced], paths, predict_stream, threads=threads, seconds=seconds)
    maes = (report.float32_mae_years, report.mae_years)
    for item, call, stream, mae in zip(bare, calls, streams, maes, strict=True):
        rates = ", ".join(
            f"{value:,.0f} at {batch}" for value, batch in zip(item.images_per_second, BATCHES, strict=True)
        )
        click.echo(
            f"- {item.precision}: {item.megabytes:.1f} MB, files to ages in batches of 1: {call:,.0f} images/s by "
            f"predict, {stream:,.0f} by predict_many; bare: {rates}"
        )
        if mae is not None and (item.precision == "float32" or report.passed):  # what the exporter would write
            name = f"{trained.spec.backbone} {trained.spec.image_size} px {item.precision}"
            yield Point(name, min(call, stream), max(call, stream), mae, mae)


def one_by_one(
    files: list[Path],
    paths: list[Path],
    predict: Callable[[AgeEstimator, list[Path]], None],
    *,
    threads: int,
    seconds: float,
) -> list[float]:
    """Images a second from file to age, batch 1, as the peers were measured."""
    estimators = [AgeEstimator(file, device="cpu", threads=threads, batch_size=1) for file in files]
    runs = [partial(predict, item, paths) for item in estimators]
    return [len(paths) / spent for spent in best_seconds(runs, seconds)]


def predict_each(estimator: AgeEstimator, paths: list[Path]) -> None:
    for path in paths:
        estimator.predict(path)


def predict_stream(estimator: AgeEstimator, paths: list[Path]) -> None:
    for _ in estimator.predict_many(paths):
        pass


if __name__ == "__main__":
    main()
