"""Layers that act on the batch of all processes together, so that splitting a batch changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torchvision.ops import StochasticDepth


def share_batches(model: nn.Module, *, rank: int, world: int) -> None:
    """Make dropout and normalisation act on the batch of all processes; the state dict keeps its names."""
    if world == 1:
        return
    _share_depth(model, rank, world)
    for module in model.modules():
        if isinstance(module, SharedDropout):
            module.rank, module.world = rank, world
    if next(model.parameters()).is_cuda:
        from timm.layers.norm_act import convert_sync_batchnorm  # torch's own drops the activation of timm's norms

        convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    else:
        _sync_on_cpu(model)


def _share_depth(module: nn.Module, rank: int, world: int) -> None:
    for name, child in module.named_children():
        if isinstance(child, StochasticDepth):
            setattr(module, name, SharedStochasticDepth(child.p, rank, world))
        else:
            _share_depth(child, rank, world)


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
            setattr(module, name, CpuSyncBatchNorm(child))
        else:
            _sync_on_cpu(child)


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batch of all processes: torch's own SyncBatchNorm is for GPUs only.

    The two-pass form, as Ioffe & Szegedy (2015) write it, with every process holding equally many images. timm's norms
    hold the dropout and the activation that follow; `drop` and `act` are those.
    """

    def __init__(self, replaced: nn.BatchNorm2d) -> None:
        super().__init__(replaced.num_features, replaced.eps, replaced.momentum)
        self.drop, self.act = (getattr(replaced, part, nn.Identity()) for part in ("drop", "act"))
        self.to(replaced.weight).load_state_dict(replaced.state_dict())

    def forward(self, input: Tensor) -> Tensor:
        normal: Tensor = self.act(self.drop(self._normalised(input)))
        return normal

    def _normalised(self, input: Tensor) -> Tensor:
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


class SharedDropout(nn.Dropout):
    """Dropout whose mask doesn't depend on how many processes share the batch.

    The mask is drawn for the whole batch from the CPU's generator, which every process seeds alike, and each of the
    `world` processes takes the rows it holds: rank, rank + world, ...
    """

    rank, world = 0, 1

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        rows, width = input.shape
        kept = torch.rand(rows * self.world, width)[self.rank :: self.world] >= self.p
        return input * kept.to(input.device) / (1 - self.p)
