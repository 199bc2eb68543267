"""The command `agedetect`: each of its commands imports what costs time when it is called."""

from __future__ import annotations

import dataclasses
import logging
import signal
import statistics
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agedetect import __version__
from agedetect.config import AUTO, EVALUATION_SPLITS, KINDS, RENAMED, TrainConfig
from agedetect.errors import ConfigError, RunError, one_line_errors
from agedetect.tracking.patience import limit_waiting
from agedetect.tracking.signals import stop_signals
from agedetect_runtime.terminal import INTERRUPTED, end_soon, needs_extra, quiet_pillow

if TYPE_CHECKING:
    from agedetect.reports.report import ComparisonReport, EvaluationReport
    from agedetect.tracking.sync import KeptRun


_NOT_PROMOTED = 3  # click's own errors are 1 and 2


def _current_name(name: str) -> str:
    """Former names of options, taken until the next version; `mlflow run -P NAME=...` gives all with underscores."""
    current = {item.name: item.name for item in dataclasses.fields(TrainConfig)}
    found = {**current, "side": "split", "flip_average": "flip_tta", **RENAMED}.get(name.replace("-", "_"))
    return found.replace("_", "-") if found else name


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "token_normalize_func": _current_name,
    }
)
@click.version_option(__version__)
def main() -> None:
    """Audit labelled faces, train age estimators on them, and evaluate models."""
    limit_waiting()


def number_or_auto(kind: type[int] | type[float]) -> Callable[[Any], Any]:
    """For click: a number of the type `kind`, or the word that leaves the choice to training."""

    def convert(value: Any) -> Any:
        try:
            return value if value == AUTO else kind(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not {KINDS[kind][1]} or {AUTO}") from error

    convert.__name__ = f"{AUTO}|{kind.__name__}"  # click's metavar
    return convert


def config_options(command: Callable[..., None], *, without: Collection[str] = ()) -> Callable[..., None]:
    """The fields of TrainConfig as options: --data-dir, --model-name, ..."""
    for item in reversed([item for item in dataclasses.fields(TrainConfig) if item.name not in without]):
        kind = item.metadata["kind"]
        is_number = item.default == AUTO and kind is not str
        arguments: dict[str, Any] = {"default": item.default, "help": item.metadata["help"]}
        arguments["type"] = number_or_auto(kind) if is_number else kind
        if item.metadata["choices"]:
            arguments["type"] = click.Choice(item.metadata["choices"])
        if kind is bool:  # `--name` alone, and `--name true`, which is what `mlflow run -P name=true` can say
            arguments |= {"is_flag": False, "flag_value": "true"}
        command = click.option(f"--{item.name.replace('_', '-')}", item.name, **arguments)(command)
    return command


@main.command("train")
@config_options
@click.option(
    "--no-register", is_flag=True, help="Log the model without registering it: 'candidate' stays where it is."
)
@click.option(
    "--resume", metavar="RUN_ID", help="Resume a stopped run, 'last' for the latest, with the settings it began with."
)
@click.pass_context
def train_command(context: click.Context, /, resume: str | None, no_register: bool, **values: Any) -> None:
    """Train a model, track the run in MLflow and register the model.

    The alias 'candidate' is set to it, better or worse than the one before; `agedetect promote` compares it with the
    champion.

    \b
    agedetect train --data-dir UTKFace_data --model-name mobilenet_v2 --image-size 128
    """
    given = [
        name
        for name in (*values, "no_register")
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if resume and given:
        raise click.UsageError(f"--resume takes the settings of its run; omit {', '.join(given)}")
    if no_register:
        if "registered_model_name" in given:
            raise click.UsageError("--no-register and --registered-model-name contradict each other: omit one")
        values["registered_model_name"] = "none"
    config = _train_config(values)
    _log_and_stop_as_ctrl_c_does()
    with one_line_errors(), needs_extra("train"):
        from agedetect.tracking.runs import Interrupted
        from agedetect.training.train import train

        try:
            trained = train(config=None if resume else config, resume=resume)
        except Interrupted as stop:
            click.echo(f"Stopped. Go on with: {stop.hint}", err=True)
            end_soon()
            sys.exit(INTERRUPTED)
    if trained.folds:
        click.echo(_of_folds([metrics["mae"] for metrics in trained.folds]))
    elif trained.logged:
        click.echo(f"test MAE {trained.metrics['mae']:.3f} years, model {trained.logged.uri}")


def _train_config(values: dict[str, Any]) -> TrainConfig:
    try:
        return TrainConfig(**values)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _log_and_stop_as_ctrl_c_does() -> None:
    """Log lines on standard error, and SIGTERM and SIGHUP as KeyboardInterrupt."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for number in stop_signals():
        if signal.getsignal(number) is not signal.SIG_IGN:  # which is what nohup makes of a closed terminal
            signal.signal(number, signal.default_int_handler)


def _of_folds(errors: list[float]) -> str:
    mean, std = statistics.mean(errors), statistics.stdev(errors)
    return f"test MAE {mean:.3f} years, standard deviation {std:.3f} over {len(errors)} folds"


@main.command("audit")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default="audit", help="Folder for the report.")
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    help="A YuNet file; by default ours, if it was downloaded before: an audit downloads nothing.",
)
def audit_command(data: Path, output: Path, detector: Path | None) -> None:
    """Report what DATA contains before anything is trained on it.

    DATA is a folder, an archive or a CSV manifest of labelled faces. With a face detector, the report also says
    whether the faces of a sample are cut as the models expect.

    \b
    agedetect audit UTKFace_data --output audit
    """
    with one_line_errors(), needs_extra("train"):
        from agedetect.data.audit import audit
        from agedetect.data.faces import read_faces
        from agedetect.reports.audit_text import format_audit
        from agedetect.reports.write import write_audit
        from agedetect_runtime.detectorfile import cached_detector
        from agedetect_runtime.yunet import YuNet

        file = detector or cached_detector()
        yunet = YuNet.open(file) if file else None  # before the images are read, which takes longer
        face_set = read_faces(data)
        report = audit(face_set, yunet)
        written = write_audit(report, face_set, output)
    click.echo(format_audit(report))
    click.echo(f"\nWritten: {', '.join(map(str, written))}")


@main.command("evaluate")
@click.argument("models", metavar="MODEL [OTHER]", nargs=-1, required=True)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(EVALUATION_SPLITS),
    default="auto",
    help="auto: the test split if MODEL was trained on DATA, else all.",
)
@click.option("--output", type=click.Path(path_type=Path), default="evaluation", help="Folder for the report.")
@click.option(
    "--flip-tta",
    is_flag=True,
    help="Test-time flip: average over a face and its mirror image. Intervals are calibrated without it.",
)
@click.option(
    "--find-faces",
    is_flag=True,
    help="DATA are photos: find the largest face of each and align it as in training. Those without one don't count.",
)
@click.option("--detector", type=click.Path(path_type=Path), help="A YuNet file; by default ours, downloaded once.")
@click.option(
    "--crop-sensitivity",
    type=click.IntRange(min=1),
    metavar="FACES",
    help="Number of faces, 500 say, to estimate again larger, smaller, shifted and turned: 17 predictions for each.",
)
def evaluate_command(
    models: tuple[str, ...],
    data: Path,
    split: str,
    output: Path,
    flip_tta: bool,
    find_faces: bool,
    detector: Path | None,
    crop_sensitivity: int | None,
) -> None:
    """Evaluate MODEL on the labelled faces in DATA, or compare it with OTHER.

    A model is an .onnx file, models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model or an MLflow model folder.
    DATA is a folder, an archive or a CSV manifest. If MODEL was trained on DATA, only its test split is used.

    \b
    agedetect evaluate model.onnx UTKFace_data --output evaluation
    agedetect evaluate models:/agedetect@champion models:/agedetect@candidate UTKFace_data
    agedetect evaluate model.onnx photos.csv --find-faces
    """
    if len(models) > 2:
        raise click.UsageError(f"{len(models)} models: give one, or two to compare")
    if detector and not find_faces:
        raise click.BadParameter("it needs --find-faces", param_hint="'--detector'")
    if crop_sensitivity and (find_faces or len(models) > 1):
        raise click.BadParameter("it needs one model, without --find-faces", param_hint="'--crop-sensitivity'")
    with one_line_errors(), needs_extra("train"):
        from agedetect import compare, evaluate, load_model, read_faces
        from agedetect.evaluation.pictures import open_detector

        first, *others = [load_model(model) for model in models]  # before the images are read, which takes longer
        yunet = open_detector(detector) if find_faces else None
        faces = read_faces(data)
        options: dict[str, Any] = {"split": split, "flip_tta": flip_tta, "find_faces": find_faces, "detector": yunet}
        report: EvaluationReport | ComparisonReport
        if others:
            report = compare(first, others[0], faces, **options, bar=_bar)
        else:
            report = evaluate(first, faces, **options, crop_sensitivity=crop_sensitivity or 0, bar=_bar)
        written = report.save(output)
        click.echo(str(report))
    click.echo(f"\nWritten: {', '.join(map(str, written[:2]))}")


@contextmanager
def _bar(label: str, images: int) -> Iterator[Callable[[int], object]]:
    """A progress bar on a terminal."""
    from tqdm import tqdm

    with tqdm(total=images, desc=label, unit="img", disable=None, leave=False) as bar:
        yield bar.update


@main.command("promote")
@click.argument("model", default="models:/agedetect@candidate")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled faces to judge both models on; by default, the test predictions of their runs.",
)
@click.option(
    "--margin", type=click.FloatRange(min=0), default=0.25, help="Years by which no group may be significantly worse."
)
@click.option("--first", is_flag=True, help="Make MODEL the first champion, where there is none to compare it with.")
@click.option("--rollback", is_flag=True, help="Give the alias back to the version that had it before.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
def promote_command(model: str, data: Path | None, margin: float, first: bool, rollback: bool, dry_run: bool) -> None:
    """Give MODEL, a registered version, the alias `champion` if it is better than the version that has it.

    Better: its test MAE is significantly lower, no group of 100 faces or more is significantly worse by more than the
    margin, and its intervals keep their promise. The reason is written on the version either way. Exit code 0: MODEL
    is the champion now (or would be); 3: it is not; 1: an error.

    \b
    agedetect promote models:/agedetect@candidate
    agedetect promote models:/agedetect --rollback
    """
    with one_line_errors(), needs_extra("train"):
        from agedetect.tracking import promotion

        if rollback:
            decision = promotion.rollback(model.removeprefix("models:/").partition("@")[0], dry_run=dry_run)
        else:
            answers = promotion.answers_on(data) if data else None
            decision = promotion.promote(model, answers=answers, margin=margin, first=first, dry_run=dry_run)
    would = "would be " if dry_run else ""
    said = f"{would}the champion: " if decision.moved else "" if decision.is_champion else "not the champion: "
    click.echo(f"{decision.name} version {decision.version}: {said}{decision.reason}")
    if not decision.moved and not decision.is_champion:
        sys.exit(_NOT_PROMOTED)
    if decision.export:
        click.echo(f"{would}the champion, too: {decision.export}")
    elif decision.orphan:
        click.echo(f"models:/{decision.orphan} has no champion now: register an export of version {decision.version}")


@main.command("runs")
@click.option("--remove", metavar="RUN_ID", help="Delete what is kept of this run: its states and what wasn't sent.")
def runs_command(remove: str | None) -> None:
    """List the runs that this machine keeps something of: those to go on with, and those to send.

    They are in AGEDETECT_RUNS, or ~/.local/state/agedetect/runs, until their tracking server has all of them.

    \b
    agedetect runs
    """
    with one_line_errors(), needs_extra("train"):
        from agedetect.tracking import sync

        if remove:
            click.echo(f"{sync.remove(remove) / 2**20:.0f} MB freed")
        else:
            click.echo("\n".join(_of_runs(sync.list_runs())))


def _of_runs(runs: list[KeptRun]) -> Iterator[str]:
    if not runs:
        yield "nothing is kept: every run was sent whole"
    for run in runs:
        used = datetime.fromtimestamp(run.used).strftime("%Y-%m-%d %H:%M")
        what = f"{run.backbone}, {run.image_size} px, epoch {run.epoch} of {run.epochs}"
        what = f"{what}, {run.store}" if run.state != "unreadable" else "another version's or another user's"
        yield f"{run.run_id}  {used}  {run.state:10}  {run.size / 2**20:6.0f} MB  {what}"


@main.command("sync")
@click.argument("run_id", required=False)
def sync_command(run_id: str | None) -> None:
    """Send to the tracking server what it lacks of RUN_ID, or of all runs that this machine keeps and doesn't train.

    \b
    agedetect sync
    """
    with one_line_errors(), needs_extra("train"):
        from agedetect.tracking.sync import sync

        failed = None
        for run, outcome in sync(run_id):
            if isinstance(outcome, RunError):
                failed = outcome
                click.echo(f"Error: {outcome}", err=True)
            else:
                click.echo(f"run {run}: {outcome}")
        if failed:
            sys.exit(1)


@main.command("crop")
@click.argument("photos", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", type=click.IntRange(16, 4096), default=200, help="Pixels on a side of a face.")
@click.option("--format", "suffix", type=click.Choice(["jpg", "png"]), default="jpg", help="Of the faces' files.")
@click.option("--largest", is_flag=True, help="Only the largest face of each photo; with a manifest it is always so.")
@click.option("--detector", type=click.Path(path_type=Path), help="A YuNet file; by default ours, downloaded once.")
def crop_command(photos: Path, out: Path, size: int, suffix: str, largest: bool, detector: Path | None) -> None:
    """Find the faces in PHOTOS (a folder, one photo or a CSV manifest) and cut them into OUT, aligned as UTKFace's are.

    The labels of a manifest, `path,age[,gender,race]`, go into OUT/faces.csv, a manifest to train or evaluate on.

    \b
    agedetect crop photos.csv faces
    """
    with one_line_errors(), quiet_pillow():
        from agedetect.data.crop import crop

        cropped = crop(photos, out, size=size, suffix=suffix, largest=largest, detector=detector)
    also = f", {cropped.omitted}" if cropped.omitted.count else ""
    click.echo(f"{cropped.faces} faces of {cropped.photos} photos in {out}, {cropped.not_found} in not_found.csv{also}")


@main.command("tune")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--trials", type=click.IntRange(1), required=True, help="Of all processes together.")
@click.option(
    "--study", default="", show_default="made of the settings", help="Its name; the same settings, the same study."
)
@click.option(
    "--storage",
    default="",
    metavar="URL",
    show_default="the MLflow store's database",
    help="sqlite:///FILE or postgresql://...; where the store is a server, a SQLite file here.",
)
@click.option("--retrain/--no-retrain", default=True, help="Train with the best settings in the end.")
@partial(config_options, without=("data_dir",))
@click.pass_context
def tune_command(
    context: click.Context, /, data: Path, trials: int, study: str, storage: str, retrain: bool, **values: Any
) -> None:
    """Search settings for DATA on its validation faces, then train with the best.

    Rates, head epochs, weight decay, dropout and label_sigma are searched, but for those that are given. Each trial is
    a child of one MLflow run; the test faces are left to the winner, which alone is registered. The same command goes
    on with a study that was stopped, and joins one that is running: start it as often as there are devices.

    \b
    agedetect tune UTKFace_data --trials 40 --model-name mobilenet_v2 --image-size 128 --epochs 8
    """
    given = [name for name in values if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    config = _train_config(values)
    _log_and_stop_as_ctrl_c_does()
    with one_line_errors(), needs_extra("train"):
        from agedetect.training.tune import tune

        try:
            found = tune(data, config, trials=trials, study=study, storage=storage, fixed=given, retrain=retrain)
        except KeyboardInterrupt:
            click.echo("Stopped. The same command goes on.", err=True)
            end_soon()
            sys.exit(INTERRUPTED)
    settings = ", ".join(f"{name}={value:.4g}" for name, value in found.best.items())
    click.echo(
        f"study {found.study}, best of {found.trials} trials ({found.pruned} pruned): trial {found.number}, "
        f"validation MAE {found.validation_mae:.3f} years (n={found.n}): {settings}; for more, the same command with "
        "larger --trials"
    )
    if found.trained:
        click.echo(f"test MAE {found.trained.metrics['mae']:.3f} years, model {found.trained.model.uri}")


@main.command("draw")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), default=600, help="Number of faces.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed; the same seed gives the same faces.")
def draw_command(out: Path, count: int, seed: int) -> None:
    """Draw labelled synthetic faces into the folder OUT, named as UTKFace names its files.

    \b
    agedetect draw drawn_faces --count 600
    """
    with one_line_errors():
        from agedetect.synthetic.faces import draw_faces

        draw_faces(out, count, seed)
    click.echo(f"{count} drawn faces in {out}")
