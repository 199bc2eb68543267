"""`python -m benchmarks.spark_rates`: examples/spark_batch.py by the number of workers. Needs the extra `external`."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import click
import psutil
from pyspark.sql import SparkSession

from benchmarks import material
from benchmarks.rates import table
from benchmarks.serving import save
from examples.spark_batch import estimate

_WARM_UP = 64  # pictures, after which each worker has the model


class _Peak(threading.Thread):
    """The most memory, in MB, that one of Spark's Python workers has held."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.megabytes, self.is_over = 0.0, False

    def run(self) -> None:
        while not self.is_over:
            for process in psutil.Process().children(recursive=True):
                try:
                    if "pyspark.daemon" in process.cmdline():
                        self.megabytes = max(self.megabytes, process.memory_info().rss / 1e6)
                except psutil.Error:  # it ended meanwhile
                    continue
            time.sleep(0.2)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--backbone", default="mobilenet_v2")
@click.option("--image-size", type=click.IntRange(min=32), default=128)
@click.option("--pictures", type=click.IntRange(min=1), default=1000, help="Files in the folder.")
@click.option("--workers", type=click.IntRange(min=1), multiple=True, default=(1, 2))
@click.option("--folder", type=click.Path(path_type=Path), default=Path("bench"), help="The model and the faces.")
def main(backbone: str, image_size: int, pictures: int, workers: tuple[int, ...], folder: Path) -> None:
    """Pictures a second from a folder to Parquet, once Spark and its workers are up."""
    file = material.onnx_model(folder, backbone, image_size).absolute()
    model = str(save(file, folder.absolute() / "registered"))
    os.environ["PYSPARK_PYTHON"] = sys.executable
    source = folder.absolute() / "spark"
    shutil.rmtree(source, ignore_errors=True)
    for number, path in enumerate(material.chips(folder, pictures)[0]):
        place = source / "all" / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(path)
        if number < _WARM_UP:
            (source / "few").mkdir(exist_ok=True)
            (source / "few" / place.name).hardlink_to(path)
    rows = [_measure(count, model, source, pictures) for count in workers]
    heading = ["workers", "pictures/s", "memory of a worker (MB)"]
    click.echo(table(heading, rows), nl=False)


def _measure(workers: int, model: str, source: Path, pictures: int) -> list[str]:
    spark = (
        SparkSession.builder.master(f"local[{workers}]")
        .config("spark.ui.enabled", False)
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    estimate(spark, model, str(source / "few"), str(source / f"few_{workers}"), _WARM_UP)
    peak = _Peak()
    peak.start()
    start = time.perf_counter()
    estimate(spark, model, str(source / "all"), str(source / f"all_{workers}"), pictures)
    seconds = time.perf_counter() - start
    peak.is_over = True
    spark.stop()
    return [str(workers), f"{pictures / seconds:.0f}", f"{peak.megabytes:.0f}"]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.spark_rates")
