"""Ages for millions of pictures with Spark: a folder, or a Parquet table of paths, in; Parquet out.

    spark-submit examples/spark_batch.py models:/agedetect-onnx@champion pictures/ ages/
    spark-submit examples/spark_batch.py models:/agedetect-onnx@champion paths.parquet ages/

The rows of `ages/` have the columns path, age, low, high (years) and error, the reason for a picture without an age. A
run does only what is missing there: start it again after it was stopped, or when the folder has grown. Needs pyspark,
mlflow, pandas and pyarrow on the driver, and on the workers these and what the model's requirements.txt lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import click
import mlflow
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql.functions import col, when

WORKER = {"MLFLOW_PYFUNC_INFERENCE_CONFIG": '{"threads": 1}'}  # on a cluster, MLflow drops `model_config`
COLUMNS = "path string, age double, low double, high double, error string"


@click.command(context_settings={"show_default": True})
@click.argument("model")
@click.argument("source")
@click.argument("output")
@click.option("--chunk", type=click.IntRange(min=1), default=50_000, help="Pictures that are written at a time.")
def main(model: str, source: str, output: str, chunk: int) -> None:
    """Estimate the age in each picture of SOURCE with MODEL, and write Parquet to OUTPUT."""
    done = estimate(SparkSession.builder.appName("agedetect").getOrCreate(), model, source, output, chunk)
    click.echo(f"{done} pictures")


def estimate(spark: SparkSession, model: str, source: str, output: str, chunk: int) -> int:
    """How many pictures were missing. Each `chunk` of them is one job of Spark: whole in the output, or not at all."""
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 256)  # whole files: 10,000 would fill a worker
    spark.conf.set("spark.sql.files.openCostInBytes", 65_536)  # a small picture is not 4 MB
    tasks = 4 * spark.sparkContext.defaultParallelism  # to look a chunk's paths up; else one for each path
    spark.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", tasks)
    ages = mlflow.pyfunc.spark_udf(spark, model, env_manager="local", extra_env=WORKER)
    is_table = source.endswith(".parquet")
    done = 0
    for paths in _chunks(_missing(spark, source, output, is_table), chunk):
        pictures = _of_table(spark, paths) if is_table else _of_files(spark, paths)
        rows = pictures.select("path", ages("image").alias("of")).select(
            "path", "of.age", "of.low", "of.high", when(col("of.age").isNull(), col("of.error")).alias("error")
        )
        rows.write.mode("append").parquet(output)
        done += len(paths)
    return done


def _missing(spark: SparkSession, source: str, output: str, is_table: bool) -> DataFrame:
    """The paths of the source that have no row in the output."""
    listed = spark.read.parquet(source) if is_table else _files(spark).option("recursiveFileLookup", True).load(source)
    done = spark.read.schema(COLUMNS)
    try:
        return listed.select("path").distinct().join(done.parquet(output).select("path"), "path", "left_anti")
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        return listed.select("path").distinct()


def _chunks(missing: DataFrame, size: int) -> Iterator[list[str]]:
    paths = (str(row["path"]) for row in missing.toLocalIterator())
    while chunk := list(islice(paths, size)):
        yield chunk


def _of_table(spark: SparkSession, paths: list[str]) -> DataFrame:
    """Workers open the paths themselves."""
    table = spark.createDataFrame([(path,) for path in paths], "path string")
    return table.select("path", col("path").alias("image"))


def _of_files(spark: SparkSession, paths: list[str]) -> DataFrame:
    """Spark reads the files, wherever it can: HDFS, S3 and the like."""
    plain = [re.sub(r"[\\{}\[\]*?]", r"\\\g<0>", path) for path in paths]  # Spark takes a name for a pattern
    return _files(spark).load(plain).select("path", col("content").alias("image"))


def _files(spark: SparkSession) -> DataFrameReader:
    return spark.read.format("binaryFile")


if __name__ == "__main__":
    main()
