"""The wheel as a backend engineer installs it: light, typed, and enough for ages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from conftest import ROOT
from tiny_models import write_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--installer", "pip", "--outdir", str(folder), str(ROOT)]
    built = captured(build)
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = folder.glob("agedetect-*.whl")
    return made


@pytest.fixture(scope="module")
def runtime_environment(wheel: Path) -> Path:
    """The bin folder of a new environment that holds the wheel with its [cpu] extra and nothing else."""
    folder = wheel.parent
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    done = captured([*install, "-c", str(ROOT / "constraints.txt"), f"{wheel}[cpu]"])
    assert done.returncode == 0, done.stderr
    return python.parent


def captured(
    command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def run(command: Sequence[Path | str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return captured([str(part) for part in command], folder, environment)


def test_nothing_heavy_came_along_and_it_is_under_200_megabytes(runtime_environment: Path) -> None:
    site = next((runtime_environment.parent / "lib").glob("python3*/site-packages"))
    installed = {path.name.split("-")[0].lower() for path in site.glob("*.dist-info")}
    assert {"agedetect", "numpy", "pillow", "click", "onnxruntime"} <= installed
    heavy = {"torch", "torchvision", "mlflow", "onnx", "pandas", "matplotlib", "jinja2", "scipy", "sympy"}
    assert not installed & heavy
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < 200e6, f"{size / 1e6:.0f} MB"
    for package in ("agedetect", "agedetect_export", "agedetect_runtime"):
        assert (site / package / "py.typed").is_file()
    templates = {path.name for path in (ROOT / "agedetect" / "reports" / "templates").iterdir()}
    assert {path.name for path in (site / "agedetect" / "reports" / "templates").iterdir()} == templates
    assert not (site / "tests").exists()


def test_the_wheel_may_be_published(wheel: Path) -> None:
    done = captured([sys.executable, "-m", "twine", "check", "--strict", str(wheel)])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a copy without its history has no address of git")
def test_an_address_of_git_can_be_installed(tmp_path: Path) -> None:
    requirement = f"agedetect[cpu] @ git+file://localhost{ROOT}"
    done = captured(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), requirement]
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "agedetect_runtime" / "cli.py").is_file()


def test_the_installed_command_gives_ages(runtime_environment: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "age.onnx")
    Image.new("RGB", (50, 50), (100, 100, 100)).save(tmp_path / "grey.png")
    call = ["grey.png", "--onnx", "age.onnx", "--device", "cpu", "--report", "page.html"]
    done = run([runtime_environment / "agedetect-infer", *call], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").is_file()  # the template came along
    assert done.stdout.splitlines()[1] == "grey.png,36.0,,,"  # 100 * (0.2 + 0.1 + 0.05) + 1: the tiny model by hand


@pytest.mark.parametrize(
    "command",
    [
        ["agedetect", "train"],
        ["agedetect", "audit", "."],
        ["agedetect-export", "models:/agedetect@candidate", "--output", "model.onnx"],
    ],
)
def test_a_command_that_needs_the_training_extra_says_so(
    runtime_environment: Path, tmp_path: Path, command: list[str]
) -> None:
    done = run([runtime_environment / command[0], *command[1:]], tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.search(r'is not installed; this command needs: pip install "agedetect\[train\] @ file://.*\.whl"$', line)


def test_sample_faces_are_drawn_without_the_training_extra(runtime_environment: Path, tmp_path: Path) -> None:
    assert run([runtime_environment / "agedetect", "draw", "faces", "--count", "12"], tmp_path).returncode == 0
    assert len(list((tmp_path / "faces").glob("*.jpg"))) == 12
