"""Runs of a model whose input has its own buffer on the device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DeviceBuffer:
    """The input goes as bytes, not floats, into one buffer on `device`, reused while the batch size stays the same.

    ONNX Runtime would allocate a new one in each run. One run at a time: each needs the buffer until it ends.
    """

    def __init__(self, runtime: ModuleType, session: Any, device: str) -> None:
        self._runtime, self._session, self._device = runtime, session, device
        self._lock = threading.Lock()
        self._shape: tuple[int, ...] = ()
        self._faces: Any = None

    def run(self, names: list[str], images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[Any]:
        """Faces, (S, S, 3) uint8 each -> the outputs of these names, on the host."""
        faces = np.asarray(images)
        with self._lock:
            if faces.shape != self._shape:
                self._faces = self._runtime.OrtValue.ortvalue_from_shape_and_type(faces.shape, np.uint8, self._device)
                self._shape = faces.shape
            self._faces.update_inplace(faces)
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("faces", self._faces)
            for name in names:
                binding.bind_output(name, "cpu")
            self._session.run_with_iobinding(binding)
            answers: list[Any] = binding.copy_outputs_to_cpu()
            return answers
