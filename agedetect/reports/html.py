"""Pages that need no other file: styles, figures and thumbnails are inside, nothing is fetched or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from agedetect.data.audit import Audit
from agedetect.evaluation.comparison import Comparison
from agedetect.evaluation.result import Evaluation
from agedetect.reports import format as formats
from agedetect.reports import tables, text
from agedetect.reports.audit_text import placement_lines
from agedetect.reports.thumbnails import WorstFace, data_uri, jpeg_uri, thumbnail
from agedetect_runtime.table import level_text, printable

_LIMITS = {"groups": 60, "in_group": 6, "files": 60, "rows": 500}  # 5 kB a thumbnail keeps an audit near 1 MB


def evaluation_page(result: Evaluation, figures: Mapping[str, str], worst: Sequence[WorstFace]) -> str:
    """`figures` are the SVG texts of figures.figures by name, `worst` the faces with the largest errors."""
    faces = [(jpeg_uri(face.thumbnail), face.caption, face.name) for face in worst]
    return _render("evaluation", result=result, figures=_uris(figures), worst=faces)


def comparison_page(result: Comparison, figure: str) -> str:
    """`figure` is the SVG text of figures.advantage_by_group."""
    return _render("comparison", result=result, figures=_uris({"advantage": figure}))


def audit_page(result: Audit, folder: Path) -> str:
    """`folder` is the one that the audit's paths are relative to: the thumbnails are made from its files."""

    @cache
    def picture(name: str) -> str:
        return jpeg_uri(thumbnail(folder / name))

    return _render("audit", result=result, picture=picture, limits=_LIMITS)


def summary(title: str, note: str, table: tables.Table, figures: Mapping[str, str]) -> str:
    """A piece of HTML for a notebook's cell, with its own styles; `figures` maps a description to SVG text."""
    return _render("summary", title=title, note=note, table=table, figures=_uris(figures))


def _uris(figures: Mapping[str, str]) -> dict[str, str]:
    """As images and not inline: the ids inside of two drawings can't meet."""
    return {name: data_uri("image/svg+xml", svg.encode()) for name, svg in figures.items()}


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(f"{template}.html.jinja").render(values)


def _neutral(value: Any) -> Any:
    """What a template prints: escapes for a terminal become text here, those for a browser by autoescape."""
    is_markup = hasattr(value, "__html__")  # what a macro has made
    return printable(value) if isinstance(value, str) and not is_markup else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("agedetect.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_neutral,
    )
    environment.filters |= {"years": formats.years, "age": formats.age_text}
    environment.filters |= {"level": level_text, "thousands": "{:,}".format}
    environment.globals |= {"tables": tables, "text": text, "placement_lines": placement_lines}
    return environment
