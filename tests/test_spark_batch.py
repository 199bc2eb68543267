"""examples/spark_batch.py on a real Spark with two workers: what it writes, and what a second run does."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from agedetect_runtime import AgeEstimator
from export_source import Store, draw_images
from export_store import tracking
from registered_pictures import URI, own_store, register_pictures, write_licensed_model

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.external


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return own_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_licensed_model(tmp_path_factory.mktemp("exported") / "age.onnx")


@pytest.fixture(scope="module")
def spark(logged: Store, file: Path) -> Iterator[SparkSession]:
    if shutil.which("java") is None:
        pytest.fail("Spark needs Java 17 or later: install default-jre-headless")
    if find_spec("pyspark") is None:
        pytest.fail('Spark is missing: pip install -c constraints.txt -e ".[external]"')
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", False)
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", 2)
        .getOrCreate()
    )
    with tracking(logged.uri):
        register_pictures(file)
        yield session
    session.stop()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eleven pictures, one of them in a folder of its own, and two files that are none."""
    folder = tmp_path / "pictures"
    paths = draw_images(folder, 11)
    paths[0].rename(folder / "a {b} [c]* 50% é.png")
    (folder / "deep").mkdir()
    paths[1].rename(folder / "deep" / "01.png")
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    return folder


def rows(output: Path) -> pd.DataFrame:
    """By path, without the `file:` that Spark puts before it."""
    table = pd.read_parquet(output)
    assert list(table.columns) == ["path", "age", "low", "high", "error"]
    assert table["path"].is_unique
    return table.assign(path=table["path"].str.removeprefix("file:")).set_index("path").sort_index()


def parts(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.glob("*.parquet")}


def check(table: pd.DataFrame, paths: list[Path], file: Path) -> None:
    estimates = AgeEstimator(file, device="cpu").predict_many(paths)
    for path, wanted in zip(paths, estimates, strict=True):
        row = table.loc[str(path)]
        if wanted.error is not None:
            assert str(row["error"]) == wanted.error
            assert row[["age", "low", "high"]].isna().all()
            continue
        assert pd.isna(row["error"])
        assert row[["age", "low", "high"]].tolist() == [
            round(value or 0, 3) for value in (wanted.age, wanted.low, wanted.high)
        ]


def test_a_folder_gets_its_rows_and_a_second_run_does_what_is_missing(
    spark: SparkSession, pictures: Path, file: Path, tmp_path: Path
) -> None:
    from examples.spark_batch import estimate

    output = tmp_path / "ages"
    paths = sorted(path for path in pictures.rglob("*") if path.is_file())
    assert estimate(spark, URI, str(pictures), str(output), chunk=5) == len(paths) == 12
    table, before = rows(output), parts(output)
    assert len(table) == 12
    check(table, paths, file)
    assert table["error"].notna().sum() == 2  # the damaged one and the text

    assert estimate(spark, URI, str(pictures), str(output), chunk=5) == 0
    assert parts(output) == before

    lost = min(before)  # as if a job had ended before it
    missing = len(pd.read_parquet(output / lost))
    (output / lost).unlink()
    (new,) = draw_images(pictures / "new", 1, seed=8)
    assert estimate(spark, URI, str(pictures), str(output), chunk=5) == missing + 1
    assert {name: time for name, time in parts(output).items() if name in before} == {
        name: time for name, time in before.items() if name != lost
    }
    check(rows(output), [*paths, new], file)


def test_a_table_of_paths_and_a_model_that_is_opened_once_a_worker(
    spark: SparkSession, pictures: Path, file: Path, tmp_path: Path
) -> None:
    from pyspark.sql.functions import pandas_udf

    from examples.spark_batch import estimate

    paths = [*sorted(pictures.glob("*.png")), tmp_path / "nowhere.png"]
    pd.DataFrame({"path": [str(path) for path in paths], "id": range(len(paths))}).to_parquet(
        tmp_path / "paths.parquet"
    )
    output = tmp_path / "ages"
    assert estimate(spark, URI, str(tmp_path / "paths.parquet"), str(output), chunk=4) == len(paths)
    check(rows(output), paths, file)
    assert rows(output).loc[str(paths[-1]), "error"] == "no such file"

    def openings(numbers: pd.Series) -> pd.Series:
        module = sys.modules.get("agedetect_runtime.pyfunc")
        info = module._open.cache_info() if module else None
        return pd.Series([f"{info.misses} {info.hits}" if info else ""] * len(numbers))

    said = {row[0] for row in spark.range(20).repartition(4).select(pandas_udf(openings, "string")("id")).collect()} - {
        ""
    }
    assert said
    # each estimate() downloads the model, and a worker opens that copy once for all of its partitions
    misses, hits = zip(*(map(int, text.split()) for text in said), strict=True)
    assert max(misses) <= 4
    assert max(hits) > max(misses)
