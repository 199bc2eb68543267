"""docs/clients.md, every block of it: the commands export, other languages' clients run, and the ages are the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import ROOT, command_environment
from export_source import Store

pytest_plugins = ["export_store"]
pytestmark = [pytest.mark.external, pytest.mark.slow]

DOCUMENT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
VECTOR = "3_333x222.png"  # the one that the blocks estimate
TOLERANCE_YEARS = 1e-3  # two float32 engines differ by some 1e-5 years; printed with three digits


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    if shutil.which(command[0], path=environment["PATH"]) is None:
        pytest.fail(f"{command[0]} is not installed: apt-get install nodejs npm chromium")
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def environment(logged: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`agedetect-export` and Python are those of this process."""
    programs = tmp_path_factory.mktemp("bin")
    exporter = programs / "agedetect-export"
    exporter.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agedetect_export "$@"\n')
    exporter.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return command_environment(logged.root, MLFLOW_TRACKING_URI=logged.uri, PATH=path)


@pytest.fixture(scope="module")
def exported(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a copy of `clients`, in which the first block has been run."""
    folder = tmp_path_factory.mktemp("clients")
    built = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(ROOT / "clients", folder / "clients", ignore=built)
    run(["bash", "-e", "-c", blocks("bash")[0]], folder, environment)
    yield folder
    shutil.rmtree(folder / "clients")  # half a gigabyte, once installed


@pytest.fixture(scope="module")
def package(exported: Path, environment: dict[str, str]) -> str:
    """The second block's output: the JavaScript package is installed, built and tested."""
    if shutil.which("npm") is None:
        pytest.fail("npm is not installed: apt-get install nodejs npm")
    return run(["bash", "-e", "-c", blocks("bash")[1]], exported, environment)


def check(printed: str, exported: Path, tolerance: float = TOLERANCE_YEARS) -> None:
    """`printed` is age (low to high) of VECTOR."""
    golden = json.loads((exported / "golden" / "golden.json").read_text())
    (vector,) = (vector for vector in golden["vectors"] if vector["picture"] == VECTOR)
    wanted = [vector[name] for name in ("age", "low", "high")]
    assert [float(number) for number in re.findall(r"[\d.]+", printed)] == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize("block", blocks("python"), ids=["any_size", "opencv", "openvino"])
def test_a_python_block_prints_the_age(block: str, exported: Path, environment: dict[str, str]) -> None:
    check(run([sys.executable, "-c", block], exported, environment), exported)


def test_the_opencv_block_makes_the_pixels_of_every_golden_vector(exported: Path, environment: dict[str, str]) -> None:
    (block,) = (block for block in blocks("python") if "cv2" in block)
    function = block.split("with open")[0]
    code = f"""{function}
golden = json.load(open("golden/golden.json"))
for vector in golden["vectors"]:
    pixels = np.fromfile("golden/" + vector["pixels"], np.uint8).reshape(vector["height"], vector["width"], 3)
    print(face(pixels, golden["image_size"]).tobytes() == open("golden/" + vector["face"], "rb").read())
"""
    printed = run([sys.executable, "-c", code], exported, environment)
    assert printed.split() == ["True"] * 6


def test_the_commands_of_the_javascript_package_pass(package: str) -> None:
    passed = [line for line in package.splitlines() if line.startswith("ok ")]
    assert sum("becomes the very pixels of the runtime" in line for line in passed) == 2 * 6
    assert sum("gets its age" in line for line in passed) == 3 * 6


def test_the_javascript_block_prints_the_age(package: str, exported: Path, environment: dict[str, str]) -> None:
    (block,) = blocks("js")
    script = exported / "clients" / "js" / "dist" / "documented.mjs"  # inside the package, which may import itself
    script.write_text(block)
    check(run(["node", str(script)], exported, environment), exported)


def test_the_triton_configuration_fits_its_schema_and_the_model(exported: Path) -> None:
    (block,) = blocks("pbtxt")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    config = text_format.Parse(block, model_config_pb2.ModelConfig())
    about = json.loads((exported / "model.onnx.json").read_text())
    (given,) = config.input
    assert (given.name, given.data_type) == (about["input"]["name"], model_config_pb2.TYPE_UINT8)
    assert len(given.dims) == len(about["input"]["shape"]) - 1
    assert {output.data_type for output in config.output} == {model_config_pb2.TYPE_FP32}
    shapes = {o.name: list(o.reshape.shape if o.HasField("reshape") else o.dims) for o in config.output}
    assert shapes == {output["name"]: output["shape"][1:] for output in about["outputs"]}


def test_the_benchmark_prints_the_table_of_the_document(exported: Path) -> None:
    from benchmarks.clients import main as benchmark

    result = CliRunner().invoke(benchmark, [str(exported / "model.onnx"), str(exported / "golden")])
    assert result.exit_code == 0, result.output
    rows = [line.split("|")[1].strip() for line in result.output.splitlines()]
    documented = [line.split("|")[1].strip() for line in DOCUMENT.splitlines() if line.startswith("|")]
    assert rows == documented[: len(rows)]  # the rows of int8 need another file
    figures = {row: line.split("|")[2:5] for row, line in zip(rows, result.output.splitlines(), strict=True)}
    assert float(figures["OpenVINO with the hint f32, float32 model"][2]) < TOLERANCE_YEARS
