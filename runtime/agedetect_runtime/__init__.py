"""Ages from face images with one ONNX file: ONNX Runtime, Pillow and NumPy, nothing else."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agedetect_runtime.errors import AgedetectError, ImageError, ModelError, ProviderError
from agedetect_runtime.listing import walk_images
from agedetect_runtime.spec import ModelSpec

if TYPE_CHECKING:
    from agedetect_runtime.estimate import Estimate, Failure, Result
    from agedetect_runtime.estimator import AgeEstimator
    from agedetect_runtime.finding import Finding, FoundFace
    from agedetect_runtime.sources import Source

__all__ = [
    "AgeEstimator",
    "AgedetectError",
    "Estimate",
    "Failure",
    "Finding",
    "FoundFace",
    "ImageError",
    "ModelError",
    "ModelSpec",
    "ProviderError",
    "Result",
    "Source",
    "walk_images",
]

# Before anything imports ONNX Runtime, whose official builds (since 1.32 on Linux) upload telemetry and write a device
# ID to the user's cache unless told not to. Their upload thread would also hang each forked child as it exits.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_LAZY = {
    "AgeEstimator": "estimator",
    "Estimate": "estimate",
    "Failure": "estimate",
    "Finding": "finding",
    "FoundFace": "finding",
    "Result": "estimate",
    "Source": "sources",
}


def __getattr__(name: str) -> Any:
    """Import what needs NumPy and Pillow only when it is used: `--help` stays fast (PEP 562)."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
