"""`agedetect train | audit | evaluate | draw`. What costs time to import is imported by the command that needs it."""

from __future__ import annotations

import dataclasses
import logging
import signal
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agedetect import __version__
from agedetect.config import TrainConfig
from agedetect.errors import ConfigError
from agedetect.tracking.signals import stop_signals
from agedetect_runtime.terminal import needs_extra, one_line_errors

if TYPE_CHECKING:
    from agedetect.data.faces import Face
    from agedetect.evaluation.evaluate import Ask
    from agedetect.evaluation.predictions import Predictions
    from agedetect.evaluation.predictor import Predictor

SIDES = ("auto", "test", "validation", "all")


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
    for number in stop_signals():
        if signal.getsignal(number) is not signal.SIG_IGN:  # which is what nohup makes of a closed terminal
            signal.signal(number, signal.default_int_handler)
    with one_line_errors():
        with needs_extra("train"):
            from agedetect.tracking import runs as tracking
            from agedetect.training.train import train, train_folds
        try:
            config = tracking.read_config(resume) if resume else config
            if config.all_folds:
                click.echo(_of_folds([figures["mae"] for figures in train_folds(config, resume=resume)]))
                return
            trained = train(config, resume=resume)
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
        from agedetect.data.audit import audit, format_audit, write_audit
        from agedetect.data.faces import read_faces

        face_set = read_faces(data)
        report = audit(face_set)
        write_audit(report, face_set, output)
    click.echo(format_audit(report))
    click.echo(f"\nWritten: {output / 'audit.json'}, {output / 'audit.html'}")


@main.command("evaluate")
@click.argument("models", metavar="MODEL [OTHER]", nargs=-1, required=True)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--side", type=click.Choice(SIDES), default="auto", help="Of the model's split; auto: its test side.")
@click.option("--output", type=click.Path(path_type=Path), default="evaluation", help="Folder of the report.")
@click.option(
    "--flip-tta",
    is_flag=True,
    help="Answer with the mean over a face and its mirror image; the intervals are calibrated for the face alone.",
)
def evaluate_command(models: tuple[str, ...], data: Path, side: str, output: Path, flip_tta: bool) -> None:
    """Judge MODEL on the labelled faces of DATA (a folder, archive or CSV manifest), or compare it with OTHER.

    A model is an .onnx file, models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or an MLflow model folder.
    Where DATA is what trained it, only the faces that it never saw count.

    \b
    agedetect evaluate model.onnx UTKFace_data --output evaluation
    agedetect evaluate models:/agedetect@champion models:/agedetect@candidate UTKFace_data
    """
    if len(models) > 2:
        raise click.UsageError(f"{len(models)} models: give one, or two to compare")
    with one_line_errors(), needs_extra("train"):
        from agedetect.data.faces import read_faces
        from agedetect.evaluation.comparison import format_comparison
        from agedetect.evaluation.evaluate import judge, judge_two
        from agedetect.evaluation.predictor import open_predictor
        from agedetect.reports.text import format_evaluation
        from agedetect.reports.write import write_evaluation
        from agedetect_runtime.atomic import write_whole

        predictors = [open_predictor(model) for model in models]
        face_set = read_faces(data)
        ask = _asking(flip_tta)
        if len(predictors) == 2:
            first, second = predictors
            comparison = judge_two(first, second, face_set, side, flip_tta=flip_tta, ask=ask)
            written = [output / "comparison.json"]
            write_whole(written[0], comparison.to_json())
            click.echo(format_comparison(comparison))
        else:
            result = judge(predictors[0], face_set, side, flip_tta=flip_tta, ask=ask)
            written = write_evaluation(result, output)[:2]
            click.echo(format_evaluation(result))
    click.echo(f"\nWritten: {', '.join(map(str, written))}")


def _asking(flip_tta: bool) -> Ask:
    """Asks a model, with a bar on a terminal."""
    from tqdm import tqdm

    from agedetect.evaluation.predictor import predict

    def ask(predictor: Predictor, faces: tuple[Face, ...], label: str) -> Predictions:
        with tqdm(total=len(faces), desc=label, unit="img", disable=None, leave=False) as bar:
            return predict(predictor, faces, flip_tta=flip_tta, done=bar.update)

    return ask


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
        from agedetect.synthetic.faces import draw_faces

        draw_faces(out, count, seed)
    click.echo(f"{count} drawn faces in {out}")
