"""File names in a report: safe in a spreadsheet, valid UTF-8 and JSON, and the same name when they are read back."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agedetect_runtime.estimate import Estimate
from agedetect_runtime.names import name_cell, name_from, name_text
from agedetect_runtime.report import report_to

PLAIN = ["plain.jpg", "with, comma.png", "ünïcode 顔 🙂.jpg", "/a/=1+1.jpg", "../b.jpg", "7.jpg", "_.webp", "顔.tif"]
QUOTED = ['with "quotes".jpg', "with\nnewline.jpg", "with\r\nboth.jpg", "return\r.jpg", "tab\t.jpg", "a\u2028b.jpg"]
FORMULAS = [
    "=1+1.jpg",
    "=HYPERLINK(CONCAT(A1:A9)).jpg",
    "+1.jpg",
    "-1.jpg",
    "@SUM(A1).jpg",
    "\t=1.jpg",
    "\r=1.jpg",
    "\n=1.jpg",
    "\uff1d1+1.jpg",
    "\uff20a.jpg",
    '"=1".jpg',
    "'=1.jpg",
    " =1.jpg",
    "\ufeff=1.jpg",
    ";=1.jpg",
    "|calc.jpg",
    "%0A-1.jpg",
]
NO_TEXT = ["NA", "N/A", "nan", "NULL", "None", "-nan", "007", "1e5", "Infinity", "true", "2026-11-24", "#N/A", ".5", ""]
BYTES = [os.fsdecode(name) for name in (b"caf\xe9.jpg", b"\xff\xfe.jpg", b"nul\0.jpg", b"\\\xe9.jpg", b"=\xe9.jpg")]
ESCAPED = ["a\\xe9.jpg", "\\x5c.jpg", "\\\\x00.jpg", "C:\\faces\\a.jpg", "\\xZZ.jpg"]
NAMES = [*PLAIN, *QUOTED, *FORMULAS, *NO_TEXT, *BYTES, *ESCAPED, "n" * 250 + ".jpg", "\x1b[2J.jpg", "  .jpg"]

# Any path that Linux can name: bytes without NUL, whatever they mean.
PATHS = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name).map(os.fsdecode)
TRICKY = st.text(alphabet="\\x5ce9=+-@,\"'\n\r\t ./é\udce9", min_size=1, max_size=12)


def written(path: Path, names: list[str]) -> Path:
    with report_to(path) as report:
        for name in names:
            report.write(Estimate(name, 1.0))
    return path


def by_csv(path: Path) -> list[str]:
    return [row["file"] for row in csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True)]


def by_pandas(path: Path) -> list[str]:
    return [str(name) for name in pd.read_csv(path)["file"]]


def by_polars(path: Path) -> list[str]:
    return [str(name) for name in pl.read_csv(path)["file"]]


def lines_by_json(path: Path) -> list[str]:
    return [json.loads(line)["file"] for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def lines_by_pandas(path: Path) -> list[str]:
    return [str(name) for name in pd.read_json(path, lines=True, dtype=False)["file"]]


def lines_by_polars(path: Path) -> list[str]:
    return [str(name) for name in pl.read_ndjson(path)["file"]]


def same_path(first: str, second: str) -> bool:
    """Of a name and its cell: equal, but for a ./ in front."""
    return first == second or f"./{first}" == second


@pytest.mark.parametrize("read", [by_csv, by_pandas, by_polars])
def test_csv_brings_back_every_path_whoever_reads_it(tmp_path: Path, read: Callable[[Path], list[str]]) -> None:
    cells = read(written(tmp_path / "ages.csv", NAMES))
    for name, cell in zip(NAMES, cells, strict=True):
        assert same_path(name, name_from(cell)), (name, cell)
    assert cells == [name_cell(name) for name in NAMES]


@pytest.mark.parametrize("read", [by_csv, by_pandas, by_polars])
def test_a_name_alone_is_no_number_and_is_not_missing(tmp_path: Path, read: Callable[[Path], list[str]]) -> None:
    for name in NAMES:  # alone, as readers guess a column's type from all of its cells
        assert read(written(tmp_path / "ages.csv", [name])) == [name_cell(name)]


@pytest.mark.parametrize("read", [lines_by_json, lines_by_pandas, lines_by_polars])
def test_json_lines_bring_back_every_path_whoever_reads_them(tmp_path: Path, read: Callable[[Path], list[str]]) -> None:
    texts = read(written(tmp_path / "ages.jsonl", NAMES))
    assert [name_from(text) for text in texts] == NAMES


def test_no_cell_begins_a_formula(tmp_path: Path) -> None:
    cells = by_csv(written(tmp_path / "ages.csv", NAMES))
    assert [cell for cell in cells if not (cell[0].isalnum() or cell[0] in "_./")] == []


def test_a_plain_name_is_written_as_it_is() -> None:
    assert [name_cell(name) for name in PLAIN] == PLAIN
    assert [name_text(name) for name in [*PLAIN, *QUOTED, *FORMULAS]] == [*PLAIN, *QUOTED, *FORMULAS]


def test_a_cell_opens_the_file_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [name for name in NAMES if name and "/" not in name and "\0" not in name]
    for index, name in enumerate(names):
        Path(name).write_text(str(index))
    cells = by_csv(written(Path("ages.csv"), names))
    assert [Path(name_from(cell)).read_text() for cell in cells] == [str(index) for index in range(len(names))]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(PATHS | TRICKY)
def test_any_path_comes_back_and_begins_no_formula(name: str) -> None:
    assert name_from(name_text(name)) == name
    assert same_path(name, name_from(name_cell(name)))
    assert name_cell(name)[0] not in "=+-@\t\r\n"
    name_text(name).encode()  # valid UTF-8: no surrogate is left
