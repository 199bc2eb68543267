"""An evaluation as files: the page for people, JSON for programs, its table of predictions and its figures."""

from __future__ import annotations

from pathlib import Path

from agedetect.evaluation.predictions import write_predictions
from agedetect.evaluation.result import Evaluation
from agedetect.files import write_whole
from agedetect.reports.evaluation_page import evaluation_page
from agedetect.reports.figures import figures


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
