"""The loops that people write around the same network, against ours, on the same files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from agedetect_runtime import AgeEstimator
from agedetect_runtime.cores import usable_cores
from benchmarks.material import Network
from benchmarks.rates import in_turns, table

_TORCH_BATCH = 32


def report(model: Path, paths: Sequence[str], rounds: int) -> str:
    """Images per second of each loop and ours as a multiple of it; compiling and starting workers isn't counted."""
    estimator = AgeEstimator(model, device="cpu")
    size = estimator.spec.image_size
    threads = 2 * usable_cores()  # as a server has more callers than cores
    network = Network(estimator.spec.backbone)
    compiled = torch.compile(network)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    share = paths[: max(1, len(paths) // rounds // _TORCH_BATCH) * _TORCH_BATCH]  # another last batch would recompile
    batches = DataLoader(
        _Files(share, size), batch_size=_TORCH_BATCH, num_workers=usable_cores(), persistent_workers=True
    )

    def eager() -> int:
        with torch.inference_mode():
            return len([network(torch.from_numpy(_open(path, size))[None]).item() for path in share])

    def run(path: str) -> object:
        return session.run(None, {"faces": _open(path, size)[None]})

    def from_threads(ask: Callable[[str], object]) -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(1 for _ in pool.map(ask, share))

    def loader() -> int:
        with torch.inference_mode():
            return sum(len(compiled(batch)) for batch in batches)

    rates = in_turns(
        {
            "Pillow, torch eager, one image at a time": eager,
            "Pillow, ONNX Runtime, one image at a time": lambda: len([run(path) for path in share]),
            f"the same from {threads} threads": lambda: from_threads(run),
            f"torch DataLoader, torch.compile, batches of {_TORCH_BATCH}": loader,
            "agedetect, one image at a time (`predict`)": lambda: len([estimator.predict(path) for path in share]),
            f"agedetect, `predict` from {threads} threads": lambda: from_threads(estimator.predict),
            "agedetect (`predict_many`)": lambda: sum(1 for _ in estimator.predict_many(share)),
        },
        rounds,
    )
    best = rates["agedetect (`predict_many`)"]
    return table(
        ["loop", "images/s", "`predict_many` is"],
        [[name, f"{rate:.1f}", f"{best / rate:.2f}x"] for name, rate in rates.items()],
    )


def _open(path: str, size: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


class _Files(Dataset[torch.Tensor]):
    def __init__(self, paths: Sequence[str], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(_open(self.paths[index], self.size))
