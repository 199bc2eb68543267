"""Evaluations, comparisons and audits as files: a page for people, JSON for programs, tables and figures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from agedetect.data.audit import Audit, shared_folder
from agedetect.data.faces import FaceSet
from agedetect.evaluation.comparison import Comparison
from agedetect.evaluation.predictions import write_predictions
from agedetect.evaluation.result import Evaluation
from agedetect.reports.figures import advantage_by_group, contact_sheet, figures
from agedetect.reports.html import audit_page, comparison_page, evaluation_page
from agedetect.reports.style import figure_style, to_jpeg
from agedetect.reports.thumbnails import worst_faces
from agedetect_runtime.atomic import write_whole


def write_evaluation(result: Evaluation, folder: Path) -> list[Path]:
    """Write evaluation.html, evaluation.json, predictions.csv and figures/*, and say which files those are.

    The page and figures/worst_faces.jpg show faces: the others can be passed on where those must not.
    """
    drawn, worst = figures(result), worst_faces(result.predictions)
    with figure_style():
        sheet = to_jpeg(contact_sheet(worst))
    written = _write(
        folder,
        {
            "evaluation.html": evaluation_page(result, drawn, worst),
            "evaluation.json": result.to_json(),
            **{f"figures/{name}.svg": svg for name, svg in drawn.items()},
            "figures/worst_faces.jpg": sheet,
        },
    )
    table = folder / "predictions.csv"
    write_predictions(result.predictions, table)
    return [*written, table]


def write_comparison(result: Comparison, folder: Path) -> list[Path]:
    """Write comparison.html and comparison.json, and say which files those are."""
    page = comparison_page(result, advantage_by_group(result))
    return _write(folder, {"comparison.html": page, "comparison.json": result.to_json()})


def write_audit(result: Audit, face_set: FaceSet, folder: Path) -> list[Path]:
    """Write audit.json, which has everything, and audit.html, a page with thumbnails inside.

    `face_set` is the one that was audited: the thumbnails are made from its files.
    """
    values = json.dumps(asdict(result), indent=1) + "\n"
    return _write(folder, {"audit.json": values, "audit.html": audit_page(result, shared_folder(face_set))})


def _write(folder: Path, files: dict[str, str | bytes]) -> list[Path]:
    for name, data in files.items():
        write_whole(folder / name, data)
    return [folder / name for name in files]
