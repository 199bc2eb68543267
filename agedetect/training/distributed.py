"""Device, precision and processes, from Lightning Fabric; and what makes a shared batch equal to an undivided one."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torchvision.ops import StochasticDepth

from agedetect.errors import ConfigError
from agedetect.models.heads import SharedDropout

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # mallopt's names in glibc's malloc.h
_LARGEST_THRESHOLD = 32 << 20  # bytes; glibc takes no larger one


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


def open_fabric(device: str, precision: str) -> Fabric:
    """Started by torchrun, one of its processes; else the only one. Raises ConfigError for CUDA where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda: torch finds no CUDA device; check nvidia-smi and that torch is a CUDA build, or say cpu"
        )
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and local > torch.cuda.device_count():
        raise ConfigError(f"{local} processes on {torch.cuda.device_count()} CUDA devices: start fewer, or say cpu")
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if use_bfloat16(precision, accelerator) else "32-true",
    )
    fabric.launch()
    return fabric


def close(fabric: Fabric) -> None:
    """Waits for the first process, which alone writes the report: one that left earlier could abort in its exit."""
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


def use_bfloat16(precision: str, accelerator: str) -> bool:
    """'auto' says yes only on a GPU that multiplies bfloat16 itself.

    On a CPU with AVX-512 bfloat16 the convolutions' backward pass takes three times as long (docs/results.md).
    """
    if precision != "auto":
        return precision == "bfloat16"
    return accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def share_batches(model: nn.Module, fabric: Fabric) -> None:
    """Makes what drops or normalises act on the batch of all processes; the state dict keeps its names."""
    if fabric.world_size == 1:
        return
    _share_depth(model, fabric)
    for module in model.modules():
        if isinstance(module, SharedDropout):
            module.rank, module.world = fabric.global_rank, fabric.world_size
    if fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    else:
        _sync_on_cpu(model)


def _share_depth(module: nn.Module, fabric: Fabric) -> None:
    for name, child in module.named_children():
        if isinstance(child, StochasticDepth):
            setattr(module, name, SharedStochasticDepth(child.p, fabric.global_rank, fabric.world_size))
        else:
            _share_depth(child, fabric)


class SharedStochasticDepth(nn.Module):
    """torchvision's StochasticDepth of rows, drawn as it does for the whole batch, of which this process has a part.

    Row r of process k is row r * world + k of the batch.
    """

    def __init__(self, p: float, rank: int, world: int) -> None:
        super().__init__()
        self.p, self.rank, self.world = p, rank, world

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        rows = torch.empty([len(input) * self.world] + [1] * (input.ndim - 1), dtype=input.dtype, device=input.device)
        kept = rows.bernoulli_(1 - self.p)[self.rank :: self.world]
        return input * kept / (1 - self.p)


def _sync_on_cpu(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            synced = CpuSyncBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
            synced.load_state_dict(child.state_dict())
            setattr(module, name, synced)
        else:
            _sync_on_cpu(child)


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batch of all processes: torch's own SyncBatchNorm is for GPUs only.

    The two-pass form, as Ioffe & Szegedy (2015) write it, with every process holding equally many images.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        world = torch.distributed.get_world_size()
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        mean = _mean_of_all(values.mean((0, 2, 3)))
        centred = values - mean.view(1, -1, 1, 1)
        variance = _mean_of_all(centred.square().mean((0, 2, 3)))
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            count = values.numel() // values.shape[1] * world
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normal: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normal.to(input.dtype)


def _mean_of_all(values: Tensor) -> Tensor:
    """The mean over the processes, with its gradient."""
    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
    return total / torch.distributed.get_world_size()


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
