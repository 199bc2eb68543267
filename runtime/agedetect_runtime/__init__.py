"""Ages from face images with one ONNX file: ONNX Runtime, Pillow and NumPy, nothing else."""

from typing import TYPE_CHECKING, Any

from agedetect_runtime.errors import AgedetectError, ImageError, ModelError, ProviderError
from agedetect_runtime.spec import ModelSpec

if TYPE_CHECKING:
    from agedetect_runtime.estimator import AgeEstimator, Estimate

__all__ = [
    "AgeEstimator",
    "AgedetectError",
    "Estimate",
    "ImageError",
    "ModelError",
    "ModelSpec",
    "ProviderError",
]


def __getattr__(name: str) -> Any:
    """Import the estimator, with NumPy and Pillow, only when it is used: `--help` stays fast (PEP 562)."""
    if name in ("AgeEstimator", "Estimate"):
        from agedetect_runtime import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
