"""Device, precision and several processes, from Lightning Fabric."""

from __future__ import annotations

import ctypes
import os
import secrets
import sys
import time
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from agedetect.errors import ConfigError

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # mallopt's names in glibc's malloc.h
_LARGEST_THRESHOLD = 32 << 20  # bytes; glibc takes no larger one
_PATIENCE = 1800.0  # seconds for the other processes to begin, as torch's own


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step instead of giving it back: 1.4 times as fast on a CPU.

    Each step would otherwise map its activations anew and have every page zeroed. Does nothing under another libc.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def choose_device(device: str) -> str:
    """'cpu' or 'cuda'. Raises ConfigError for CUDA where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda: torch finds no CUDA device; check nvidia-smi and that torch is a CUDA build, or begin a run "
            "with device=cpu"
        )
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def open_fabric(device: str, precision: str) -> Fabric:
    """One of torchrun's processes, or a single process without it. Raises ConfigError for CUDA where there is none."""
    accelerator = choose_device(device)
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if accelerator == "cuda" and local > torch.cuda.device_count():
        raise ConfigError(f"{local} processes on {torch.cuda.device_count()} CUDA devices: start fewer, or say cpu")
    if world > 1:
        store, rank, world = next(rendezvous("env://"))
        begun = attempt_store(store, rank, world)
        backend = "nccl" if accelerator == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, store=begun, rank=rank, world_size=world)
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if use_bfloat16(precision, accelerator) else "32-true",
    )
    fabric.launch()
    return fabric


def attempt_store(store: Store, rank: int, world: int) -> Store:
    """The part of torchrun's store that only the processes of this attempt know.

    torchrun keeps its store over restarts, and in it the addresses of the killed processes: one that is begun again
    and is faster than the others would call those (pytorch/pytorch#135712). So each process but the first leaves a
    word that it made up, and the first one answers it with its own, the attempt's name. Raises DistStoreError where
    one of them doesn't come.
    """
    mine = secrets.token_hex(8)
    end = time.monotonic() + _PATIENCE

    def missing(key: str, of: int) -> bool:
        if store.check([key]):
            return False
        if time.monotonic() > end:
            raise DistStoreError(f"process {of} of {world} didn't begin")
        time.sleep(0.05)  # not Store.wait, which no signal ends
        return True

    if rank > 0:
        store.set(f"word/{rank}", mine)
        while missing(f"answer/{mine}", 0):
            pass
        attempt = store.get(f"answer/{mine}").decode()
        store.set(f"{attempt}/{rank}", "")
        return PrefixStore(attempt, store)
    for other in range(1, world):
        while missing(f"{mine}/{other}", other):
            if store.check([f"word/{other}"]):
                word = store.get(f"word/{other}").decode()  # first perhaps that of a killed process
                store.set(f"answer/{word}", mine)
    return PrefixStore(mine, store)


def close(fabric: Fabric) -> None:
    """Wait for the first process, which alone writes the report: one that exits earlier could abort."""
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


def torchrun_job() -> str | None:
    """What the restarts of one torchrun job have in common: --rdzv-id, or else its launch. None without torchrun."""
    job = os.environ.get("TORCHELASTIC_RUN_ID")
    if job != "none":  # torchrun's word for no id
        return job
    return Path(os.environ["TORCHELASTIC_ERROR_FILE"]).parents[2].name  # LAUNCH/attempt_0/RANK/error.json


def use_bfloat16(precision: str, accelerator: str) -> bool:
    """'auto' means yes only on a GPU with native bfloat16.

    On a CPU with AVX-512 bfloat16 the convolutions' backward pass takes three times as long (docs/results.md).
    """
    if precision != "auto":
        return precision == "bfloat16"
    return accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def gather_rows(fabric: Fabric, rows: Tensor, count: int) -> Tensor:
    """Rows rank, rank + world, ... of each process -> all `count` rows in order, on every process."""
    if fabric.world_size == 1:
        return rows
    most = -(-count // fabric.world_size)
    padded = rows.new_zeros((most, *rows.shape[1:]))
    padded[: len(rows)] = rows
    gathered = cast(Tensor, fabric.all_gather(padded))  # (world, most, ...)
    return gathered.transpose(0, 1).reshape(-1, *rows.shape[1:])[:count]


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    return values.detach().double().cpu().numpy()
