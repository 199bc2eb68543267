"""The light runtime stays light: what it imports, and when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

import agedetect_runtime
from tiny_models import write_tiny_model

FOREIGN = {
    "torch",
    "torchvision",
    "mlflow",
    "onnx",
    "pandas",
    "matplotlib",
    "agedetect",
    "agedetect_export",
    "pillow_heif",
}
HEAVY = {"numpy", "PIL", "onnxruntime"}

HELP = """
import sys
from agedetect_runtime.cli import main
main(["--help"], standalone_mode=False)
"""
EVERYTHING = """
import importlib, pkgutil, sys
import agedetect_runtime
for module in pkgutil.walk_packages(agedetect_runtime.__path__, "agedetect_runtime."):
    importlib.import_module(module.name)
model, image = sys.argv[1:]
estimator = agedetect_runtime.AgeEstimator(model, device="cpu")
assert next(estimator.predict_many([image])).age == 36.0
"""
REPORT = "\nprint('imported:', *sorted({name.split('.')[0] for name in sys.modules}))"


def imported_by(code: str, *arguments: str) -> set[str]:
    """The top-level modules that a process has imported when it has run `code`."""
    call = [sys.executable, "-c", code + REPORT, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].removeprefix("imported: ").split())


def test_nothing_heavy_or_ours_is_imported_for_an_inference(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "age.onnx")
    Image.new("RGB", (40, 40), (100, 100, 100)).save(tmp_path / "face.png")
    imported = imported_by(EVERYTHING, str(model), str(tmp_path / "face.png"))
    assert imported >= HEAVY | {"agedetect_runtime", "click"}  # the list is a real one
    assert not imported & FOREIGN


def test_help_imports_neither_numpy_nor_pillow_nor_onnx_runtime() -> None:
    imported = imported_by(HELP)
    assert "click" in imported
    assert not imported & (HEAVY | FOREIGN)


def test_help_answers_in_under_three_tenths_of_a_second() -> None:
    def seconds() -> float:
        """Of a core: a busy machine takes longer."""
        with subprocess.Popen([sys.executable, "-c", HELP], stdout=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_utime + used.ru_stime

    assert min(seconds() for _ in range(5)) < 0.3


def test_the_package_imports_without_its_heavy_parts() -> None:
    code = "import sys\nimport agedetect_runtime\nagedetect_runtime.ModelSpec, agedetect_runtime.ImageError"
    assert not imported_by(code) & HEAVY


def test_every_public_name_is_there_and_listed() -> None:
    assert set(agedetect_runtime.__all__) == set(dir(agedetect_runtime))
    assert all(getattr(agedetect_runtime, name) is not None for name in agedetect_runtime.__all__)


OPENED = """
import os, sys
from agedetect_runtime import AgeEstimator
AgeEstimator(sys.argv[1], device="cpu", threads=1)
print(os.environ["ORT_DISABLE_TELEMETRY"], len(os.listdir("/proc/self/task")))
"""


def opened(model: Path, home: Path, **settings: str) -> list[str]:
    """What a process says that opens a model, in an environment without settings of ONNX Runtime but these."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment = {**plain, "HOME": str(home), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **settings}
    call = [sys.executable, "-c", OPENED, str(model)]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_onnx_runtime_sends_no_telemetry_unless_the_user_wants_it(tmp_path: Path) -> None:
    model, home = write_tiny_model(tmp_path / "age.onnx"), tmp_path / "home"
    home.mkdir()
    assert opened(model, home) == ["1", "1"]  # one thread: none that uploads
    assert list(home.iterdir()) == []  # and no device ID
    assert opened(model, home, ORT_DISABLE_TELEMETRY="0")[0] == "0"
