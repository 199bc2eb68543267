"""MLflow's generic (`pyfunc`) view of a registered model: `mlflow.pyfunc.load_model(uri).predict(faces)`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agedetect.models.inference import CalibratedModel
from agedetect.models.registered import load_registered


class FacesToAges:
    """faces, uint8 (B, S, S, 3), RGB -> the outputs of the model's signature by name, float32 (B,) or (B, K)."""

    def __init__(self, network: CalibratedModel) -> None:
        self._network = network

    def predict(
        self, faces: NDArray[np.uint8], params: dict[str, object] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        ages = self._network.predict(faces)
        return {name: values for name, values in ages._asdict().items() if values is not None}


def _load_pyfunc(data_path: str) -> FacesToAges:
    """Called by MLflow with the folder of the model's files."""
    network, _ = load_registered(Path(data_path))
    return FacesToAges(network)
