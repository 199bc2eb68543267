"""Which ONNX Runtime is installed, and which of its execution providers a device name stands for."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from agedetect_runtime.errors import ProviderError

DEVICES = ("auto", "cpu", "cuda")
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def load_runtime() -> ModuleType:
    """Import onnxruntime; raises ProviderError where it is missing, broken or installed twice."""
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if version_of(name)]
    if len(installed) == 2:  # they share one folder: the later one has overwritten half of the other
        raise ProviderError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; "
            "pip uninstall both, then pip install onnxruntime or onnxruntime-gpu"
        )
    if not installed and importlib.util.find_spec("onnxruntime") is None:
        raise ProviderError("ONNX Runtime is not installed; pip install onnxruntime, or onnxruntime-gpu for CUDA")
    try:
        runtime = importlib.import_module("onnxruntime")
        runtime.InferenceSession, runtime.SessionOptions  # noqa: B018 (an emptied folder still imports)
    except (ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ProviderError(
            f"ONNX Runtime cannot be imported ({reason}); pip uninstall onnxruntime onnxruntime-gpu, "
            "then pip install onnxruntime or onnxruntime-gpu"
        ) from error
    return runtime


def providers_for(device: str, available: Sequence[str]) -> list[str]:
    """The providers to request, best first, given those that the installed wheel was built with.

    Raises ProviderError for an unknown device, and for "cuda" where the wheel has no CUDA provider.
    """
    if device not in DEVICES:
        raise ProviderError(f"device {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cuda" and CUDA not in available:
        raise ProviderError(
            "device cuda: this ONNX Runtime has no CUDA provider; pip uninstall onnxruntime, "
            "then pip install onnxruntime-gpu"
        )
    return [CUDA, CPU] if device != "cpu" and CUDA in available else [CPU]


def with_options(provider: str) -> str | tuple[str, dict[str, str]]:
    """CUDA without TF32, its default since Ampere: ten bits of mantissa move an age by more than parity allows."""
    return (provider, {"use_tf32": "0"}) if provider == CUDA else provider


def preload_cuda(runtime: ModuleType) -> None:
    """Load the CUDA and cuDNN libraries that are installed as Python packages, if any."""
    if hasattr(runtime, "preload_dlls"):  # since 1.21
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it doesn't find
            runtime.preload_dlls()


def cuda_obstacle(runtime: ModuleType) -> str:
    """Why the wheel's CUDA provider didn't start; call it only after a session has tried to.

    The provider is a shared library that ONNX Runtime loads late: loading it again makes the linker name
    the missing library.
    """
    folder = Path(str(runtime.__file__)).parent / "capi"
    for library in sorted(folder.glob("*onnxruntime_providers_cuda.*")):
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            reason = " ".join(str(error).replace(f"{folder}/", "").split())
            return f"{reason}; install the CUDA and cuDNN that onnxruntime-gpu {runtime.__version__} needs"
    return "no NVIDIA GPU or driver answers, or its CUDA is too old (see nvidia-smi)"


def version_of(distribution: str) -> str | None:
    """Of an installed distribution."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
