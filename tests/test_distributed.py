"""Two processes over gloo against one: the same arithmetic, in float64, to rounding."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import timm
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torchvision.ops import StochasticDepth

from agedetect.errors import ConfigError
from agedetect.models.shared_batch import SharedDropout, share_batches
from agedetect.training import distributed
from agedetect.training.distributed import attempt_store, close, gather_rows, open_fabric, use_bfloat16
from benchmarks.servers import free_port

STEPS, BATCH, SIDE = 6, 8, 32
KINDS = ("batch norm, dropout and depth", "test_convnext", "test_vit")

Results = dict[str, dict[str, torch.Tensor]]


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "test_convnext":
        return timm.create_model(kind, num_classes=1).double()
    if kind == "test_vit":
        return timm.create_model(kind, num_classes=1, img_size=SIDE).double()
    layers = [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), StochasticDepth(0.3, "row")]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, SharedDropout(0.3), nn.Linear(5, 1)).double()


def steps(fabric: Fabric, kind: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    """Some steps on every world-th row of each batch: the weights, running statistics and gathered answers."""
    model = network(kind)
    share_batches(model, rank=fabric.global_rank, world=fabric.world_size)
    wrapped = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        images = torch.randn(BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)[rank::world]
        torch.manual_seed(step)
        wrapped(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    faces = torch.randn(7, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)
    answers = gather_rows(fabric, model.eval()(faces[rank::world]).detach(), len(faces))
    return {**model.state_dict(), "answers": answers}


def train_a_share(rank: int, world: int, folder: str) -> None:
    """Saves what `steps` gives, for each kind of network."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }
    fabric = open_fabric("cpu", "float32")
    for kind in KINDS:
        torch.save(steps(fabric, kind, rank, world), Path(folder) / f"{kind}-{world}-{rank}.pt")
    close(fabric)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("processes")
    context = torch.multiprocessing.get_context("spawn")
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "test"}
    try:
        for world in (1, 2):
            started = [context.Process(target=train_a_share, args=(r, world, str(folder))) for r in range(world)]
            for process in started:
                process.start()
            for process in started:
                process.join(120)
                assert process.exitcode == 0
    finally:
        for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
            del os.environ[name]
    return {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_the_weights_of_one(results: Results, kind: str) -> None:
    alone = results[f"{kind}-1-0"]
    for rank in (0, 1):
        together = results[f"{kind}-2-{rank}"]
        assert together.keys() == alone.keys()
        for name in alone.keys() - {"answers", "1.num_batches_tracked"}:
            # Sums in another order differ by float64's rounding; statistics of half a batch by 1e-3 and more.
            assert torch.allclose(together[name], alone[name], rtol=0, atol=1e-12), name


@pytest.mark.slow
def test_gathered_rows_are_whole_and_in_order_on_every_process(results: Results) -> None:
    alone = results[f"{KINDS[0]}-1-0"]["answers"]
    assert alone.shape == (7, 1)
    for rank in (0, 1):
        assert torch.allclose(results[f"{KINDS[0]}-2-{rank}"]["answers"], alone, rtol=0, atol=1e-12)


def test_cuda_without_a_device_is_an_error_and_not_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device=cuda: torch finds no CUDA device"):
        open_fabric("cuda", "auto")


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes on 1 CUDA devices"):
        open_fabric("auto", "auto")


@pytest.mark.parametrize(("precision", "expected"), [("float32", False), ("bfloat16", True), ("auto", False)])
def test_the_cpu_computes_in_bfloat16_only_where_that_is_asked_for(precision: str, expected: bool) -> None:
    assert use_bfloat16(precision, "cpu") is expected


def open_store(port: int, *, serve: bool = False) -> Store:
    store: Store = next(rendezvous(f"tcp://127.0.0.1:{port}?rank={0 if serve else 1}&world_size=1"))[0]
    return store


def begin(port: int, addresses: dict[int, str], late: int | None = None) -> dict[int, set[str]]:
    """The processes of one attempt, as threads, of which `late` begins last: the addresses that each one finds."""

    def process(rank: int) -> set[str]:
        if rank == late:
            time.sleep(0.5)
        shared = attempt_store(open_store(port), rank, len(addresses))
        shared.set(f"address/{rank}", addresses[rank])
        return {shared.get(f"address/{other}").decode() for other in addresses}

    with ThreadPoolExecutor(len(addresses)) as pool:
        return dict(zip(addresses, pool.map(process, addresses), strict=True))


@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_restart_never_finds_a_killed_process_in_the_store(late: int) -> None:
    port = free_port()
    kept = open_store(port, serve=True)
    begin(port, {0: "a", 1: "b", 2: "c"})
    kept.set("word/1", "said by a process that was killed before its answer")
    found = begin(port, {0: "d", 1: "e", 2: "f"}, late)
    assert found == {rank: {"d", "e", "f"} for rank in range(3)}


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_never_begins_is_an_error_after_a_while(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_PATIENCE", 0.2)
    with pytest.raises(DistStoreError, match=f"process {1 - rank} of 2 didn't begin"):
        attempt_store(open_store(free_port(), serve=True), rank, 2)
