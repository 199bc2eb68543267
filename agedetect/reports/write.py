"""Evaluations and audits as files: a page for people, JSON for programs, tables and figures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from agedetect.data.audit import Audit, shared_folder
from agedetect.data.faces import FaceSet
from agedetect.evaluation.predictions import write_predictions
from agedetect.evaluation.result import Evaluation
from agedetect.reports.audit_page import audit_page, pictured
from agedetect.reports.evaluation_page import evaluation_page
from agedetect.reports.figures import figures
from agedetect_runtime.atomic import write_whole


def write_evaluation(result: Evaluation, folder: Path) -> list[Path]:
    """Write evaluation.html, evaluation.json, predictions.csv and figures/*.svg, and say which files those are."""
    drawn = figures(result)
    texts = {
        folder / "evaluation.html": evaluation_page(result, drawn),
        folder / "evaluation.json": result.to_json(),
        **{folder / "figures" / f"{name}.svg": svg for name, svg in drawn.items()},
    }
    for path, text in texts.items():
        write_whole(path, text)
    table = folder / "predictions.csv"
    write_predictions(result.predictions, table)
    return [*texts, table]


def write_audit(result: Audit, face_set: FaceSet, out_dir: Path) -> None:
    """Write audit.json, which has everything, and audit.html, a page with thumbnails inside.

    `face_set` is the one that was audited: the thumbnails are made from its files.
    """
    root = shared_folder(face_set)
    page = audit_page(result, {name: root / name for name in pictured(result)})
    write_whole(out_dir / "audit.json", json.dumps(asdict(result), indent=1) + "\n")
    write_whole(out_dir / "audit.html", page)
