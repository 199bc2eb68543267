"""`python -m benchmarks.serving`: the registered export behind HTTP, beside a service of one's own and a bare loop."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import onnxruntime
from mlflow.models import Model
from PIL import Image

from agedetect.tracking.exported import Pictures
from agedetect_runtime.pyfunc import MODEL
from benchmarks import material
from benchmarks.rates import table
from benchmarks.servers import Server, fastapi_command, free_port, mlflow_command, serving

_WARM_UP = 20  # requests
_MANY = 16  # pictures in one request
Ask = Callable[[HTTPConnection, Sequence[bytes]], object]


class Load(NamedTuple):
    """Seconds of each request and of all, and the memory of the server in MB, where there is one."""

    seconds: Sequence[float]
    all_seconds: float
    pictures: int
    before: float | None = None
    after: float | None = None

    def row(self, name: str) -> list[str]:
        middle, slow = np.percentile(np.multiply(self.seconds, 1000), [50, 99])
        rate = self.pictures / self.all_seconds
        memory = ["" if megabytes is None else f"{megabytes:.0f}" for megabytes in (self.before, self.after)]
        return [name, f"{rate:.0f}", f"{middle:.0f}", f"{slow:.0f}", *memory]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--backbone", default="mobilenet_v2")
@click.option("--image-size", type=click.IntRange(min=32), default=128)
@click.option("--requests", type=click.IntRange(min=1), default=1000, help="To each server.")
@click.option("--clients", type=click.IntRange(min=1), default=4, help="Connections at a time.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("bench"), help="The model and the faces.")
def main(backbone: str, image_size: int, requests: int, clients: int, folder: Path) -> None:
    """Bounded load on loopback: each client sends its next picture when the last one's age is there."""
    file = material.onnx_model(folder, backbone, image_size).absolute()
    registered = save(file, folder.absolute() / "registered")
    paths, kind = material.chips(folder, requests)
    pictures = [Path(path).read_bytes() for path in paths]
    click.echo(f"{backbone} at {image_size} px, {kind}, {requests} requests from {clients} clients\n")
    rows = [_naive(file, image_size, pictures).row("Pillow and ONNX Runtime in a loop, no server")]
    with _running(fastapi_command, "/health", {"AGEDETECT_MODEL": str(file)}) as server:
        rows.append(_load(server, _ask_fastapi, pictures, clients, 1).row("FastAPI with `AgeEstimator`"))
    with _running(lambda port: mlflow_command(str(registered), port), "/ping", {}) as server:
        rows.append(_load(server, _ask_mlflow, pictures, clients, 1).row("`mlflow models serve`"))
        many = _load(server, _ask_mlflow, pictures, clients, _MANY)
        rows.append(many.row(f"`mlflow models serve`, {_MANY} pictures a request"))
    heading = ["", "pictures/s", "p50 (ms)", "p99 (ms)", "memory before (MB)", "after"]
    click.echo(table(heading, rows), nl=False)


def save(file: Path, folder: Path) -> Path:
    """As it is registered."""
    shutil.rmtree(folder, ignore_errors=True)
    data = folder.with_name("exported")
    data.mkdir(exist_ok=True)
    shutil.copyfile(file, data / MODEL)
    Pictures.save_model(str(folder), Model(), data)
    return folder


@contextmanager
def _running(command: Callable[[int], Sequence[str]], health: str, environment: Mapping[str, str]) -> Iterator[Server]:
    port = free_port()
    with serving(command(port), port, health, environment) as server:
        yield server


def _ask_fastapi(connection: HTTPConnection, pictures: Sequence[bytes]) -> object:
    (picture,) = pictures
    return _post(connection, "/age", picture, "image/jpeg")["age"]


def _ask_mlflow(connection: HTTPConnection, pictures: Sequence[bytes]) -> object:
    cells = [[base64.b64encode(picture).decode()] for picture in pictures]
    body = json.dumps({"dataframe_split": {"columns": ["image"], "data": cells}}).encode()
    return [row["age"] for row in _post(connection, "/invocations", body, "application/json")["predictions"]]


def _post(connection: HTTPConnection, path: str, body: bytes, kind: str) -> dict[str, list[dict[str, float]]]:
    connection.request("POST", path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {data[:500]!r}")
    found: dict[str, list[dict[str, float]]] = json.loads(data)
    return found


def _load(server: Server, ask: Ask, pictures: Sequence[bytes], clients: int, size: int) -> Load:
    shares = [pictures[start::clients] for start in range(clients)]
    before = server.megabytes()
    _client(server.port, ask, pictures[:_WARM_UP], size)
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = [
            one for part in pool.map(lambda share: _client(server.port, ask, share, size), shares) for one in part
        ]
    return Load(seconds, time.perf_counter() - start, len(pictures), before, server.megabytes())


def _client(port: int, ask: Ask, pictures: Sequence[bytes], size: int) -> list[float]:
    connection = HTTPConnection("127.0.0.1", port)
    seconds = []
    for first in range(0, len(pictures), size):
        start = time.perf_counter()
        ask(connection, pictures[first : first + size])
        seconds.append(time.perf_counter() - start)
    connection.close()
    return seconds


def _naive(file: Path, side: int, pictures: Sequence[bytes]) -> Load:
    """In this process, whose memory is mostly the benchmark's own libraries'."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    seconds = []
    for picture in pictures:
        start = time.perf_counter()
        with Image.open(io.BytesIO(picture)) as image:
            face = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
        session.run(None, {"faces": face[None]})
        seconds.append(time.perf_counter() - start)
    return Load(seconds, sum(seconds), len(pictures))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.serving")
