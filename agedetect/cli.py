"""`agedetect train | audit | draw`. What costs time to import is imported by the command that needs it."""

from __future__ import annotations

import dataclasses
import logging
import signal
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agedetect import __version__
from agedetect.config import TrainConfig
from agedetect.errors import ConfigError
from agedetect_runtime.terminal import needs_extra, one_line_errors


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """Train age estimators on face images, and look at the data first."""


def config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Every field of TrainConfig as an option: --data-dir, --model-name, ..."""
    for item in reversed(dataclasses.fields(TrainConfig)):
        kind = type(item.default)
        arguments: dict[str, Any] = {"type": kind, "default": item.default, "help": item.metadata["help"]}
        if item.metadata["choices"]:
            arguments["type"] = click.Choice(item.metadata["choices"])
        if kind is bool:  # `--name` alone, and `--name true`, which is what `mlflow run -P name=true` can say
            arguments |= {"is_flag": False, "flag_value": "true"}
        command = click.option(f"--{item.name.replace('_', '-')}", item.name, **arguments)(command)
    return command


@main.command("train")
@config_options
@click.option("--resume", metavar="RUN_ID", help="Go on with a stopped run, with the settings it began with.")
@click.pass_context
def train_command(context: click.Context, /, resume: str | None, **values: Any) -> None:
    """Train, track in MLflow, and register the model under the alias 'candidate'.

    \b
    agedetect train --data-dir UTKFace_data --model-name mobilenet_v2 --image-size 128
    """
    given = [name for name in values if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if resume and given:
        raise click.UsageError(f"--resume takes the settings of its run; leave out {', '.join(given)}")
    try:
        config = TrainConfig(**values)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends the run as Ctrl-C does
    with one_line_errors():
        with needs_extra("train"):
            from agedetect import tracking
            from agedetect.train import train, train_folds
        try:
            if config.all_folds and not resume:
                click.echo(_of_folds([trained.test.mae for trained in train_folds(config)]))
                return
            trained = train(tracking.read_config(resume) if resume else config, resume=resume)
        except tracking.Interrupted as stop:
            hint = f" Go on with: agedetect train --resume {stop.run_id}" if stop.resumable else ""
            click.echo(f"Stopped.{hint}", err=True)
            sys.exit(130)
    if trained.model:
        click.echo(f"test MAE {trained.test.mae:.3f} years, model {trained.model.uri}")


def _of_folds(errors: list[float]) -> str:
    mean, deviation = statistics.mean(errors), statistics.stdev(errors)
    return f"test MAE {mean:.3f} years, standard deviation {deviation:.3f} over {len(errors)} folds"


@main.command("audit")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default="audit", help="Folder of the report.")
def audit_command(data: Path, output: Path) -> None:
    """Say what is in DATA (a folder, archive or CSV manifest) before anything is trained on it.

    \b
    agedetect audit UTKFace_data --output audit
    """
    with one_line_errors():
        from agedetect.audit import audit, format_audit, write_audit
        from agedetect.faces import read_faces

        face_set = read_faces(data)
        report = audit(face_set)
        write_audit(report, face_set, output)
    click.echo(format_audit(report))
    click.echo(f"\nWritten: {output / 'audit.json'}, {output / 'audit.html'}")


@main.command("draw")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), default=600, help="How many faces.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Same seed, same faces.")
def draw_command(out: Path, count: int, seed: int) -> None:
    """Draw labelled sample faces into the folder OUT, in UTKFace's layout.

    \b
    agedetect draw drawn_faces --count 600
    """
    with one_line_errors():
        from agedetect.drawn import draw_faces

        draw_faces(out, count, seed)
    click.echo(f"{count} drawn faces in {out}")
