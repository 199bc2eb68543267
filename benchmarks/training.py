"""Does training keep up with its own arithmetic? Our epoch against bare steps of the same network, in one run.

    python -m benchmarks.training --model-name mobilenet_v2 --image-size 128

A bare step is forward, backward and AdamW on random faces that are already in memory. Ours decodes, augments, averages
the weights and counts beside it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
import torch

from agedetect.cli import number_or_auto
from agedetect.config import BACKBONES, DEVICES, TrainConfig
from agedetect.data.faces import read_faces
from agedetect.models.losses import choose_loss
from agedetect.models.model import build_model
from agedetect.synthetic.faces import draw_faces
from agedetect.training.distributed import keep_freed_memory, open_fabric
from agedetect.training.fit import Fit
from agedetect.training.progress import Progress
from agedetect.training.start import resolve


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Labelled faces; drawn ones by default.")
@click.option("--model-name", type=click.Choice(BACKBONES), default="mobilenet_v2")
@click.option("--image-size", default=128)
@click.option("--batch-size", default=32)
@click.option("--steps", default=30, help="Steps of each measurement.")
@click.option("--rounds", default=3)
@click.option("--workers", type=number_or_auto(int), default=TrainConfig.workers)
@click.option("--device", type=click.Choice(DEVICES), default="auto")
@click.option("--augment", default=TrainConfig.augment)
def main(data_dir: Path | None, steps: int, rounds: int, **values: object) -> None:
    """Print images/s of both, and their ratio, the median over the rounds."""
    keep_freed_memory()
    fixed = {
        "weights": "none",
        "epochs": rounds + 1,
        "head_epochs": 0,
        "warmup_epochs": 0,
        "finetune_learning_rate": 5e-4,
    }
    config, _ = resolve(TrainConfig.from_dict({**fixed, **values}))
    with tempfile.TemporaryDirectory() as folder:
        if data_dir is None:
            data_dir = Path(folder) / "faces"
            draw_faces(data_dir, steps * config.batch_size, seed=0)
        faces = read_faces(data_dir).faces[: steps * config.batch_size]
        fabric = open_fabric(config.device, config.precision)
        model = build_model(config.model_name, "none")
        fit = Fit(fabric, model, config, faces, faces[: config.batch_size], Progress(False))
        bare, ours = [], []
        for epoch, _ in fit.epochs():
            ours.append(epoch.images_per_second)
            bare.append(bare_speed(fit, steps))
    ours, bare = ours[1:], bare[1:]  # the first epoch starts the workers
    ratio = statistics.median(our / base for our, base in zip(ours, bare, strict=True))
    threads = f"{torch.get_num_threads()} threads" if fabric.device.type == "cpu" else str(fabric.device)
    click.echo(f"{config.model_name}, {config.image_size} px, batches of {config.batch_size}, {threads}")
    click.echo(f"bare steps {statistics.median(bare):7.1f} images/s")
    click.echo(f"training   {statistics.median(ours):7.1f} images/s, {ratio:.1%} of it")


def bare_speed(fit: Fit, steps: int) -> float:
    """Images a second of forward, backward and optimizer on a batch in memory, at the same precision."""
    config, device = fit.config, fit.fabric.device
    model = build_model(config.model_name, "none").to(device).to(memory_format=torch.channels_last).train()
    module, optimizer = fit.fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=1e-6))
    loss_of = choose_loss(config.loss_name, label_sigma=config.label_sigma)
    size = config.image_size
    faces = torch.randint(0, 256, (config.batch_size, size, size, 3), dtype=torch.uint8, device=device)
    ages = torch.full((config.batch_size,), 30.0, device=device)
    began = time.perf_counter()
    for step in range(steps + 2):
        if step == 2:  # the first ones choose kernels and fill caches
            began = time.perf_counter()
        fit.fabric.backward(loss_of(module(faces), ages))
        optimizer.step()
        optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return steps * config.batch_size / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
