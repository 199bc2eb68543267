"""`python -m benchmarks.int8 MODEL...`: what each way of making a file int8 costs in years, and how fast the file is.

    python -m benchmarks.int8 models:/agedetect@candidate       # a trained, registered model; the run's own faces

Every way sees the same calibration faces. The cost is the mean over the validation faces of the change of the absolute
error from float32, with 1.96 standard errors. Speeds are ratios at batch 8 on one thread, the files taking turns, by
the core's time, so that other work on the machine counts less.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import click
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from agedetect_export import convert, quantize, reduction, registry, sensitivity
from agedetect_export.cleanup import simplify
from agedetect_export.graph import Graph
from agedetect_export.precision import MAE_BUDGET_YEARS
from agedetect_export.quantize import Quantizer
from agedetect_runtime.images import load_face
from benchmarks.rates import table

CALIBRATION, SEARCH, BATCH = 128, 256, 8

Faces = NDArray[np.uint8]
Years = NDArray[np.float64]


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, faces: Faces) -> None:
        self._batches = iter([{"faces": faces[start : start + 16]} for start in range(0, len(faces), 16)])

    def get_next(self) -> Any:
        return next(self._batches, None)


def last_layers(model: onnx.ModelProto) -> list[str]:
    """The last linear layer and what follows it: they stay in float."""
    graph = Graph(model)
    upstream = graph.ancestors(node.input[0] for node in graph.of_type("Gemm"))
    return [node.name for node in graph.nodes if node.name not in upstream]


def static(model: onnx.ModelProto, faces: Faces, **options: Any) -> onnx.ModelProto:
    with TemporaryDirectory() as folder:
        ready, made = Path(folder) / "ready.onnx", Path(folder) / "made.onnx"
        quant_pre_process(model, ready)
        quantize_static(
            ready,
            made,
            Calibration(faces),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=last_layers(onnx.load(ready)),
            **options,
        )
        return onnx.load(made)


def with_nncf(model: onnx.ModelProto, faces: Faces, **options: Any) -> onnx.ModelProto:
    import nncf

    data = nncf.Dataset([{"faces": face[None]} for face in faces])
    return nncf.quantize(
        model,
        data,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(faces),
        ignored_scope=nncf.IgnoredScope(names=last_layers(model)),
        **options,
    )


def ours(model: onnx.ModelProto, faces: Faces, years: Years, *, search: bool = True, **without: Any) -> onnx.ModelProto:
    with mock.patch.multiple(quantize, **without) if without else mock.patch.dict({}):
        quantizer = Quantizer(model, faces[:CALIBRATION])
    if not search:
        return quantizer.build()
    choice = sensitivity.choose(
        model, quantizer, faces[CALIBRATION:], years[CALIBRATION:], budget_years=MAE_BUDGET_YEARS, tell=click.echo
    )
    click.echo(f"kept in float: {choice.kept}")
    return choice.model


def no_shifts(model: onnx.ModelProto, faces: Faces) -> dict[str, Any]:
    graph = Graph(model)
    return {conv.input[1]: 0.0 for conv in graph.of_type("Conv") if graph.bias_of(conv).size}


def ways(traced: onnx.ModelProto, faces: Faces, years: Years) -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    exact = simplify(traced)
    same = {"equalize": lambda model, faces: model}
    yield "ours", partial(ours, exact, faces, years)
    yield "ours, no search", partial(ours, exact, faces, years, search=False)
    yield "ours, no search, no equalization", partial(ours, exact, faces, years, search=False, **same)
    yield "ours, no search, no bias correction", partial(ours, exact, faces, years, search=False, bias_shifts=no_shifts)
    yield (
        "ours, none of the three",
        partial(ours, exact, faces, years, search=False, bias_shifts=no_shifts, **same),
    )
    yield "quantize_static", partial(static, traced, faces)
    yield "quantize_static, cleaned graph", partial(static, exact, faces)
    moving = {"CalibMovingAverage": True}
    yield "quantize_static, moving average", partial(static, traced, faces, extra_options=moving)
    yield "quantize_static, percentile", partial(static, traced, faces, calibrate_method=CalibrationMethod.Percentile)
    yield "NNCF, fast bias correction", partial(with_nncf, traced, faces)
    yield "NNCF, bias correction", partial(with_nncf, traced, faces, fast_bias_correction=False)


@click.command(context_settings={"show_default": True})
@click.argument("models", nargs=-1, required=True)
@click.option("--only", multiple=True, help="Ways that begin so; repeatable.")
@click.option("--seed", type=int, default=0, help="Of the choice of calibration faces.")
@click.option("--rounds", type=click.IntRange(min=1), default=40, help="Runs of each file for its speed.")
def main(models: tuple[str, ...], only: tuple[str, ...], seed: int, rounds: int) -> None:
    """Print a table of each of MODELS, as models:/NAME@ALIAS."""
    logging.getLogger().setLevel(logging.ERROR)
    for uri in models:
        click.echo(f"\n{uri}\n\n{report(uri, only, seed, rounds)}")


def report(uri: str, only: tuple[str, ...], seed: int, rounds: int) -> str:
    source = registry.load_source(uri)
    size = source.spec.image_size
    listed = reduction.run_faces(source)
    with mock.patch.object(reduction, "SEED", seed):
        calibrating, ages = reduction._draw(listed.training, CALIBRATION + SEARCH, source.spec)
    faces = np.stack([load_face(path, size, source.spec.resampling) for path, _ in listed.validation])
    true = np.array([age for _, age in listed.validation])
    example = torch.arange(2 * size**2 * 3).remainder(256).to(torch.uint8).reshape(2, size, size, 3)
    traced = convert.trace(source.program, example, source.spec)
    convert._strip_traces(traced)
    built = {"float32": traced, "float32, cleaned graph": simplify(traced)}
    for name, build in ways(traced, calibrating, ages):
        if not only or any(name.startswith(item) for item in only):
            try:
                built[name] = build()
            except Exception as error:
                click.echo(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:600]}")
    sessions = [open_one_thread(model) for model in built.values()]
    times = best_core_seconds([partial(session.run, ["age"], {"faces": faces[:BATCH]}) for session in sessions], rounds)
    wanted = sensitivity.run(traced, faces)
    errors = {name: np.abs(sensitivity.run(model, faces) - true) for name, model in built.items()}
    base = errors.get("quantize_static", errors["float32"])
    rows = []
    for (name, model), spent in zip(built.items(), times, strict=True):
        found = sensitivity.run(model, faces)
        rows.append(
            [
                name,
                f"{model.ByteSize() / 1e6:.1f}",
                f"{errors[name].mean():.3f}",
                interval(errors[name] - errors["float32"]),
                interval(errors[name] - base),
                f"{np.abs(found - wanted).mean():.3f}",
                f"{times[0] / spent:.2f}",
            ]
        )
    heading = ["int8 by", "MB", "MAE", "cost", "against quantize_static", "mean difference", "times as fast"]
    return f"n = {len(faces)}, float32 {BATCH / times[0]:.0f} images/s\n\n" + table(heading, rows)


def best_core_seconds(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for index, run in enumerate(runs):
            start = time.process_time()
            run()
            best[index] = min(best[index], time.process_time() - start)
    return best


def open_one_thread(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def interval(change: Years) -> str:
    return f"{change.mean():+.3f} ± {1.96 * change.std(ddof=1) / np.sqrt(len(change)):.3f}"


if __name__ == "__main__":
    main()
