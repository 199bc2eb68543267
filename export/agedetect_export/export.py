"""An export from top to bottom: convert, compare, compress, check the accuracy, put in place, log."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from agedetect.evaluation.predictor import Predictor
from agedetect.tracking.exported import check_names, register_export
from agedetect.tracking.reading import RegisteredModel, is_deleted, listed_faces
from agedetect.tracking.registry import log_export
from agedetect.tracking.store import tracking_uri
from agedetect_export import clients, compression, convert, parity, resize
from agedetect_export.compression import RunFaces
from agedetect_export.faces import from_folder, from_run
from agedetect_export.files import EARLIER, description_path, disk_errors, exclusive, in_place, places_of, report_path
from agedetect_export.precision import MAE_BUDGET_YEARS, PRECISIONS
from agedetect_export.report import TOLERANCE_YEARS, ParityReport
from agedetect_export.resize_parity import compare_resize
from agedetect_runtime import AgedetectError, AgeEstimator, ModelError, ModelSpec
from agedetect_runtime.spec import PICTURE
from agedetect_runtime.table import printable

Log = Callable[[str], None]


class SizeError(AgedetectError):
    """The model was trained at another size than the one asked for."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """`faces`: a folder to compare on, None for the run's validation images, `images` of which are taken.

    `tolerance_years` is the largest difference that passes. `image_size` is the size in pixels that the model is
    expected to have, 0 for any. int8 may add `mae_budget_years` to the MAE. With `resize_in_graph` the file takes one
    picture of any size. `golden` is a folder to write golden vectors to. `force` replaces earlier files.
    `register` is the name that the file is registered under, with the aliases `alias`; empty: it isn't.
    """

    faces: Path | None = None
    images: int = 64
    tolerance_years: float = TOLERANCE_YEARS
    image_size: int = 0
    precision: str = PRECISIONS[0]
    mae_budget_years: float = MAE_BUDGET_YEARS
    resize_in_graph: bool = False
    golden: Path | None = None
    force: bool = False
    register: str = ""
    alias: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise AgedetectError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if self.register:
            check_names(self.register, self.alias)


def export_model(
    model: Predictor, output: Path, options: ExportOptions, *, log: Log = lambda line: None
) -> ParityReport:
    """Write `output` and, beside it, its description and the report that is returned; log them to the model's run.

    Raises AgedetectError, and then what was at `output` is as it was. Everything is made in a folder beside it; the
    finished files are moved to their places, and taken back where MLflow doesn't log them. They stay where it only
    refuses to register them.
    """
    if not isinstance(model, RegisteredModel):
        raise ModelError(f"{model.name}: it is an exported file; export a model of the registry")
    _check_size(model, options.image_size)
    if options.register and options.register == model.registered_name:
        raise AgedetectError(f"{options.register}: it is the source's own name; register the file under another")
    _check_run(model)
    with exclusive(output):
        _check_places(output, options.force)
        return _export(model, output, options, log)


def _export(model: RegisteredModel, output: Path, options: ExportOptions, log: Log) -> ParityReport:
    if options.faces:
        paths = from_folder(options.faces, options.images)
    else:
        paths = from_run(listed_faces(model, "validation", "give images with --faces"), options.images)
    run_faces = None if options.precision == "float32" else compression.run_faces(model)
    with (
        disk_errors(output),
        TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as name,
        clients.whole_folder(options.golden, force=options.force) as golden,
    ):
        folder = Path(name)
        file, report = _make(model, output, options, paths, run_faces, folder, log)
        report_path(file).write_text(report.to_json(), encoding="utf-8")
        described = clients.describe(file, _with_provenance(model, report))
        description_path(file).write_text(described, encoding="utf-8")
        if golden is not None:
            clients.write_golden(file, golden)
        made = places_of(folder, output)
        with in_place(made, folder / EARLIER):
            if model.tracked:
                log_export(model, list(made.values()), report.metrics(), report.verdicts())
            else:
                log(f"not logged: the model's run is not in {tracking_uri()}")
    if options.register:
        _register(model, output, options, log)
    return report


def _register(model: RegisteredModel, output: Path, options: ExportOptions, log: Log) -> None:
    try:
        registered = register_export(model, output, options.register, options.alias)
    except AgedetectError as error:
        raise AgedetectError(f"{error}; the file is safe: {output.absolute()}; register it with --force") from error
    log(f"registered as {registered.uri}{''.join(f', @{alias}' for alias in options.alias)}")


def _check_run(model: RegisteredModel) -> None:
    """Raises AgedetectError where the model's run is deleted: MLflow would refuse the export at the very end."""
    if model.tracked and model.run_id and is_deleted(model.run_id):
        raise AgedetectError(
            f"run {model.run_id}: it is deleted, so the export was not logged, nor made; restore it with "
            f"`mlflow runs restore --run-id {model.run_id}`"
        )


def _check_size(model: RegisteredModel, image_size: int) -> None:
    trained = model.spec.image_size
    if image_size not in (0, trained):
        raise SizeError(
            f"{model.name} was trained at {trained} px: its ages at {image_size} px were neither trained nor "
            f"measured; omit --image-size, or train with --image-size {image_size}"
        )


def _check_places(output: Path, force: bool) -> None:
    for path in (output, report_path(output), description_path(output)):
        if path.is_dir():
            raise AgedetectError(f"{path} is a folder; give another output")
        if os.path.lexists(path) and not force:
            raise AgedetectError(f"{path} exists; give another output, or force to replace it")


def _make(
    model: RegisteredModel,
    output: Path,
    options: ExportOptions,
    paths: list[Path],
    run_faces: RunFaces | None,
    folder: Path,
    log: Log,
) -> tuple[Path, ParityReport]:
    """The file that ships, under the name it will have, and what is known of it."""
    exact, file = folder / "exact" / output.name, folder / output.name
    exact.parent.mkdir()
    log(f"converting {model.name}")
    convert.convert(model.network, model.spec, exact)
    log(f"comparing on {len(paths)} images")
    report = parity.compare(model.network, model.spec, exact, paths, tolerance_years=options.tolerance_years)
    if not report.passed:
        log(report.to_text())
        raise parity.ParityError(f"{output} was not written: parity failed: {printable(report.failures[0])}")
    if run_faces is None:
        exact.replace(file)
    else:
        compressed = compression.compress(
            exact, file, model.spec, run_faces, budget_years=options.mae_budget_years, log=log
        )
        report = dataclasses.replace(report, precision=compressed)
        if not compressed.passed:
            log(compressed.to_text())
            raise compression.PrecisionError(f"{output} was not written: {compressed.failures[0]}")
    if options.resize_in_graph:
        report = _put_resize_in(file, model.spec, paths, report, log)
    convert.write_spec(file, _with_provenance(model, report))
    AgeEstimator(file, device="cpu")  # what was compared had no provenance yet: open the very bytes that ship
    return file, report


def _put_resize_in(file: Path, spec: ModelSpec, paths: list[Path], report: ParityReport, log: Log) -> ParityReport:
    """Replace a file that takes faces by one that takes a picture, if it gives the same ages."""
    log("comparing the ages of pictures that are resized in the graph")
    with_resize = file.with_name(f"resize-{file.name}")
    resize.write_with_resize(file, dataclasses.replace(spec, input=PICTURE), with_resize)
    found = compare_resize(file, with_resize, paths)
    if not found.passed:
        raise parity.ParityError(f"{file.name} was not written: {found.verdict}, tolerance {found.tolerance_years:g}")
    with_resize.replace(file)
    return dataclasses.replace(report, resize=found)


def _with_provenance(model: RegisteredModel, report: ParityReport) -> ModelSpec:
    """No date and no path: the same model exports to the same bytes on the same machine.

    Elsewhere the measured differences, some 1e-5 years, vary with the processor and the number of threads.
    """
    origin = {"run_id": model.run_id, "registered_model": model.registered_name, "version": model.version}
    provenance = {**model.spec.provenance, "source": origin, "parity": report.summary()}
    spec = model.spec
    if report.resize is not None:
        provenance["resize"] = report.resize.summary()
        spec = dataclasses.replace(spec, input=PICTURE)
    if report.precision is None:
        return dataclasses.replace(spec, provenance=provenance)
    compressed = report.precision
    return dataclasses.replace(
        spec,
        precision=compressed.precision,
        card=compressed.add_to_card(spec.card),
        provenance={**provenance, "precision": compressed.summary()},
    )
