"""An export from top to bottom: load, convert, compare, make smaller, judge, put in place, log."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from agedetect_export import compression, convert, parity, registry
from agedetect_export.compression import RunFaces
from agedetect_export.faces import from_folder, from_run
from agedetect_export.files import in_place, report_path
from agedetect_export.precision import PrecisionReport
from agedetect_export.registry import Source
from agedetect_export.report import ParityReport
from agedetect_runtime import AgedetectError, AgeEstimator, ModelSpec
from agedetect_runtime.table import printable


class SizeError(AgedetectError):
    """The model was trained at another size than the one asked for."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the user asked for. `faces` None: the run's validation images; `image_size` 0: the model's own."""

    source: str
    output: Path
    faces: Path | None
    images: int
    tolerance_years: float
    image_size: int
    precision: str
    mae_budget_years: float


def export(wish: Wish) -> None:
    """Raises AgedetectError, and what was at `wish.output` is as it was.

    Everything is made in a folder beside it; the finished files are moved to their places, and taken back where
    MLflow then doesn't take them.
    """
    say(f"loading {wish.source}")
    source = registry.load_source(wish.source)
    _check_size(source, wish.image_size)
    if wish.faces:
        paths = from_folder(wish.faces, wish.images)
    else:
        paths = from_run(registry.validation_faces(source), wish.images)
    run_faces = None if wish.precision == "float32" else compression.run_faces(source)
    with TemporaryDirectory(dir=wish.output.parent, prefix=f".{wish.output.name}.") as name:
        folder = Path(name)
        model, report = _make(source, wish, paths, run_faces, folder)
        report_file = report_path(folder / wish.output.name)
        report_file.write_text(report.to_json(), encoding="utf-8")
        with in_place({model: wish.output, report_file: report_path(wish.output)}, folder / "earlier"):
            if source.tracked:
                registry.log_export(source, [wish.output, report_path(wish.output)], report)
            else:
                say(f"not logged: the model's run is not in {registry.tracking_uri()}")
    size = wish.output.stat().st_size / 1e6
    click.echo(printable(f"{wish.output}: {size:.1f} MB, from {source.label}"))


def say(line: str) -> None:
    click.echo(printable(line), err=True)


def _check_size(source: Source, image_size: int) -> None:
    trained = source.spec.image_size
    if image_size not in (0, trained):
        raise SizeError(
            f"{source.label} was trained at {trained} px: what it answers at {image_size} px nobody has trained or "
            f"measured; leave --image-size out, or train with --image-size {image_size}"
        )


def _make(
    source: Source, wish: Wish, paths: list[Path], run_faces: RunFaces | None, folder: Path
) -> tuple[Path, ParityReport]:
    """The file that ships, under the name it will have, and what is known of it."""
    exact, model = folder / "exact" / wish.output.name, folder / wish.output.name
    exact.parent.mkdir()
    say(f"converting {source.label}")
    convert.convert(source.program, source.spec, exact)
    say(f"comparing on {len(paths)} images")
    report = parity.compare(source.program, source.spec, exact, paths, tolerance_years=wish.tolerance_years)
    click.echo(report.to_text())
    if not report.passed:
        raise parity.ParityError(f"{wish.output} was not written: parity failed: {printable(report.failures[0])}")
    if run_faces is None:
        exact.replace(model)
    else:
        reduced = compression.compress(
            exact, model, source.spec, run_faces, budget_years=wish.mae_budget_years, log=say
        )
        click.echo(reduced.to_text())
        if not reduced.passed:
            raise compression.PrecisionError(f"{wish.output} was not written: {reduced.failures[0]}")
        report = dataclasses.replace(report, precision=reduced)
    convert.write_spec(model, _with_provenance(source, report))
    AgeEstimator(model, device="cpu")  # what was compared had no provenance yet: open the very bytes that ship
    return model, report


def _with_provenance(source: Source, report: ParityReport) -> ModelSpec:
    """No date and no path: the same model exports to the same bytes on the same machine.

    Elsewhere the measured differences, some 1e-5 years, vary with the processor and the number of threads.
    """
    origin = {"run_id": source.run_id, "registered_model": source.name, "version": source.version}
    provenance = {**source.spec.provenance, "source": origin, "parity": report.summary()}
    if report.precision is None:
        return dataclasses.replace(source.spec, provenance=provenance)
    reduced: PrecisionReport = report.precision
    return dataclasses.replace(
        source.spec,
        precision=reduced.precision,
        card=reduced.add_to_card(source.spec.card),
        provenance={**provenance, "precision": reduced.summary()},
    )
