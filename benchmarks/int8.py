"""`python -m benchmarks.int8 MODEL...`: what int8 costs in years and how fast it is, by ours, ONNX Runtime and NNCF.

    python -m benchmarks.int8 models:/agedetect@candidate       # a trained, registered model; the run's own faces

All see the same calibration faces. The cost is the mean over the validation faces of the change of the absolute error
from float32, with 1.96 standard errors. Speeds are ratios at batch 8 on one thread, the files taking turns, by the
core's time, so that other work on the machine counts less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import click
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import quantize_static

from agedetect.tracking.reading import load_registered_model
from agedetect_export import compression, convert
from agedetect_export import quantize as quantize_module
from agedetect_export.accuracy import paired_cost
from agedetect_export.equalize import Faces, correct_biases, equalize
from agedetect_export.quantize import last_layers, prepare, quantize, quantize_as_it_is, with_mirror_images
from agedetect_runtime.images import load_face
from benchmarks.rates import table

BATCH = 8

Years = NDArray[np.float64]


def with_nncf(model: onnx.ModelProto, faces: Faces) -> onnx.ModelProto:
    nncf: Any = import_module("nncf")  # not among the project's requirements: pip install nncf
    quantized: onnx.ModelProto = nncf.quantize(
        model,
        nncf.Dataset([{"faces": face[None]} for face in faces]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(faces),
        ignored_scope=nncf.IgnoredScope(names=last_layers(ir.from_proto(model))),
    )
    return quantized


def ways(model: onnx.ModelProto, faces: Faces) -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    both = with_mirror_images(faces)
    yield "float32", lambda: model
    yield "the exporter", partial(quantize, model, faces)
    yield "without equalization", partial(in_parts, model, both, [correct_biases])
    yield "without bias correction", partial(in_parts, model, both, [equalize])
    yield "without either", partial(in_parts, model, both, [])
    yield "quantize_static alone", partial(statically, model, both)
    if find_spec("nncf"):
        yield "NNCF", partial(with_nncf, model, both)


def in_parts(
    model: onnx.ModelProto, faces: Faces, parts: Sequence[Callable[[ir.Model, Faces], None]]
) -> onnx.ModelProto:
    graph = prepare(model)
    for part in parts:
        part(graph, faces)
    return quantize_as_it_is(graph, faces)


def statically(model: onnx.ModelProto, faces: Faces) -> onnx.ModelProto:
    """`quantize_static` with its own defaults, on the graph as torch traced it: minimum and maximum over all faces."""
    with mock.patch.object(quantize_module, "quantize_static", without_options):
        return quantize_as_it_is(ir.from_proto(model), faces)


def without_options(*files: Path, extra_options: dict[str, Any], **options: Any) -> None:
    quantize_static(*files, **options)


@click.command(context_settings={"show_default": True})
@click.argument("models", nargs=-1, required=True)
@click.option("--rounds", type=click.IntRange(min=1), default=40, help="Runs of each file for its speed.")
def main(models: tuple[str, ...], rounds: int) -> None:
    """Print a table of each of MODELS, as models:/NAME@ALIAS."""
    for uri in models:
        click.echo(f"\n{uri}\n\n{report(uri, rounds)}")


def report(uri: str, rounds: int) -> str:
    source = load_registered_model(uri)
    listed = compression.run_faces(source)
    calibration = compression.calibration_faces(listed.training, source.spec)
    faces = np.stack([load_face(path, source.spec.image_size, source.spec.resampling) for path, _ in listed.validation])
    true = np.array([age for _, age in listed.validation])
    with TemporaryDirectory() as name:
        float32 = Path(name) / "float32.onnx"
        convert.convert(source.network, source.spec, float32)
        made = {}
        for way, make in ways(onnx.load(float32), calibration):
            try:
                model = make()
                made[way] = (model, open_on_one_thread(model))
            except Exception as error:  # one of several ways: the others count
                click.echo(f"{way}: {type(error).__name__}: {' '.join(str(error).split())[:300]}", err=True)
    sessions = [session for _, session in made.values()]
    seconds = best_core_seconds(
        [partial(session.run, ["age"], {"faces": faces[:BATCH]}) for session in sessions], rounds
    )
    ages = [run(session, faces) for session in sessions]
    errors = [np.abs(found - true) for found in ages]
    rows = [
        [
            way,
            f"{model.ByteSize() / 1e6:.1f}",
            f"{error.mean():.3f}",
            interval(error - errors[0]),
            f"{np.abs(found - ages[0]).mean():.3f}",
            f"{seconds[0] / spent:.2f}",
        ]
        for (way, (model, _)), error, found, spent in zip(made.items(), errors, ages, seconds, strict=True)
    ]
    heading = ["int8 by", "MB", "MAE", "cost", "mean difference", "times as fast"]
    return f"n = {len(faces)}, {len(calibration)} calibrating\n\n" + table(heading, rows)


def open_on_one_thread(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, faces: Faces) -> Years:
    batches = [faces[start : start + BATCH] for start in range(0, len(faces), BATCH)]
    return np.concatenate([session.run(["age"], {"faces": batch})[0] for batch in batches]).astype(np.float64)


def best_core_seconds(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for index, run in enumerate(runs):
            start = time.process_time()
            run()
            best[index] = min(best[index], time.process_time() - start)
    return best


def interval(change: Years) -> str:
    cost = paired_cost(change)
    return f"{cost.mean_years:+.3f} ({cost.low_years:+.3f} to {cost.high_years:+.3f})"


if __name__ == "__main__":
    main()
