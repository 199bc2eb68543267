"""What is written: files whole or not at all, readable again exactly, and a table that stays aligned."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agedetect_runtime import conversion
from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.estimate import Estimate, Failure, Result
from agedetect_runtime.report import format_of, report_to
from agedetect_runtime.table import fit, printable, true_age, write_table

ODD_NAMES = [
    "plain.jpg",
    "with, comma.jpg",
    'with "quotes".jpg',
    "with\nnewline.jpg",
    "with\r\nboth.jpg",
    "tab\t.jpg",
    "ünïcode 顔 🙂.jpg",
    " spaces ",
]
NOT_UTF8 = os.fsdecode(b"caf\xe9.jpg")


def written(path: Path, estimates: list[Result], at_least: int | None = None) -> bytes:
    with report_to(path, at_least=at_least) as report:
        for estimate in estimates:
            report.write(estimate)
    return path.read_bytes()


def chance(share: float, years: int) -> NDArray[np.float32]:
    """Probabilities of 0 to 116 years: `share` for `years`, the rest for the year before."""
    probabilities = np.zeros(117, np.float32)
    probabilities[years - 1 : years + 1] = (1 - share, share)
    return probabilities


def csv_rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))


def json_rows(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in data.decode("utf-8").split("\n")[:-1]]


def test_csv_has_a_header_and_a_row_an_image(tmp_path: Path) -> None:
    data = written(
        tmp_path / "ages.csv",
        [
            Estimate("a.jpg", 34.24681, 27.0, 42.5),
            Estimate("b.jpg", 5.0),
            Failure("c.jpg", "empty file"),
        ],
    )
    assert data == (b"file,age,low,high,error\na.jpg,34.247,27.0,42.5,\nb.jpg,5.0,,,\nc.jpg,,,,empty file\n")


def test_json_lines_have_the_same_columns(tmp_path: Path) -> None:
    data = written(tmp_path / "ages.jsonl", [Estimate("a.jpg", 34.24681, 27.0, 42.5), Failure("c.jpg", "empty")])
    assert json_rows(data) == [
        {"file": "a.jpg", "age": 34.247, "low": 27.0, "high": 42.5, "error": None},
        {"file": "c.jpg", "age": None, "low": None, "high": None, "error": "empty"},
    ]


def test_the_chance_of_an_age_has_a_column_named_after_the_age(tmp_path: Path) -> None:
    estimates: list[Result] = [Estimate("a.jpg", 34.2, 27.0, 42.5, chance(0.96875, 18)), Failure("c.jpg", "empty file")]
    assert written(tmp_path / "ages.csv", estimates, at_least=18) == (
        b"file,age,low,high,at_least_18,error\na.jpg,34.2,27.0,42.5,0.969,\nc.jpg,,,,,empty file\n"
    )
    first, second = json_rows(written(tmp_path / "ages.jsonl", estimates, at_least=18))
    assert list(first) == list(second) == ["file", "age", "low", "high", "at_least_18", "error"]
    assert (first["at_least_18"], second["at_least_18"]) == (0.969, None)


def test_the_suffix_decides_unless_a_format_is_named() -> None:
    names = ("a.csv", "a.JSONL", "a.json", "a.parquet", "a.txt", "csv")
    assert [format_of(Path(name)) for name in names] == ["csv", "jsonl", "json", "parquet", None, None]
    assert format_of(Path("a.txt"), "json") == "json"


def test_json_and_parquet_hold_the_rows_of_the_json_lines(tmp_path: Path) -> None:
    estimates: list[Result] = [
        Estimate("a.jpg", 34.24681, 27.0, 42.5, chance(0.96875, 18)),
        *(Failure(name, "empty file") for name in [*ODD_NAMES, NOT_UTF8]),
    ]
    expected = json_rows(written(tmp_path / "ages.jsonl", estimates, at_least=18))
    assert json.loads(written(tmp_path / "ages.json", estimates, at_least=18)) == expected
    written(tmp_path / "ages.parquet", estimates, at_least=18)
    table = pq.read_table(tmp_path / "ages.parquet")
    assert table.to_pylist() == expected
    assert [str(field.type) for field in table.schema] == ["string", "double", "double", "double", "double", "string"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ages.json", "ages.jsonl", "ages.parquet"]


def test_a_json_or_parquet_file_without_rows_is_whole(tmp_path: Path) -> None:
    assert json.loads(written(tmp_path / "ages.json", [])) == []
    written(tmp_path / "ages.parquet", [])
    assert pq.read_table(tmp_path / "ages.parquet").column_names == ["file", "age", "low", "high", "error"]


def test_parquet_is_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_GROUP_ROWS", 2)
    written(tmp_path / "ages.parquet", [Estimate(f"{number}.jpg", number) for number in range(5)])
    assert pq.ParquetFile(tmp_path / "ages.parquet").metadata.num_row_groups == 3
    assert pq.read_table(tmp_path / "ages.parquet")["age"].to_pylist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_a_job_that_ends_early_leaves_the_old_file_alone(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "ages.csv"
    path.write_text("old")

    def end_early() -> None:
        with report_to(path) as report:
            report.write(Estimate("a.jpg", 1.0))
            assert path.read_text() == "old"
            raise stop

    with pytest.raises(stop):
        end_early()
    assert path.read_text() == "old"
    assert (tmp_path / "ages.csv.part").read_text() == "file,age,low,high,error\na.jpg,1.0,,,\n"


def test_a_job_that_ends_before_its_first_row_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), report_to(tmp_path / "ages.csv"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_file_appears_at_the_end_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "ages.jsonl"
    with report_to(path) as report:
        report.write(Estimate("a.jpg", 1.0))
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_the_report_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    written(tmp_path / "link.csv", [Estimate("a.jpg", 1.0)])
    assert (tmp_path / "link.csv").is_symlink()
    assert "a.jpg" in (tmp_path / "real.csv").read_text()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "none" / "ages.csv"
    with pytest.raises(AgedetectError, match=r"ages\.csv: cannot be written: no such file or directory"):
        written(path, [])
    (tmp_path / "file").touch()
    with pytest.raises(AgedetectError, match="cannot be written: not a directory"):
        written(tmp_path / "file" / "ages.csv", [])


def table(
    estimates: list[Result],
    monkeypatch: pytest.MonkeyPatch,
    *,
    columns: int,
    coverage: float | None = None,
    at_least: int | None = None,
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    file = io.StringIO()
    write = write_table(file, coverage=coverage, at_least=at_least)
    for estimate in estimates:
        write(estimate)
    return file.getvalue().splitlines()


def cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def test_the_table_has_ages_with_one_decimal_and_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    estimates: list[Result] = [Estimate("a.jpg", 34.26), Failure("b.jpg", "empty file")]
    rows = table(estimates, monkeypatch, columns=60)
    assert [row.split() for row in rows] == [
        ["file", "age"],
        ["a.jpg", "34.3"],
        ["b.jpg", "-", "empty", "file"],
    ]


def test_the_table_shows_intervals_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    estimates: list[Result] = [
        Estimate("a.jpg", 34.26, 26.9, 42.04),
        Estimate("b.jpg", 3.4, -0.3, 9.5),
        Estimate("c.jpg", 101.0, 93.0, 116.0),
        Failure("d.jpg", "empty file"),
    ]
    assert table(estimates, monkeypatch, columns=70, coverage=0.9) == [
        "file                       age (90%)",
        "a.jpg                       34 (27-42)",
        "b.jpg                        3 (0-10)",
        "c.jpg                      101 (93-116)",
        "d.jpg                        -            empty file",
    ]


def test_the_table_shows_the_chance_of_an_age_behind_either_kind_of_age(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure("b.jpg", "empty file")
    estimates: list[Result] = [Estimate("a.jpg", 34.26, 26.9, 42.04, chance(0.966, 18)), failure]
    assert table(estimates, monkeypatch, columns=80, coverage=0.975, at_least=18) == [
        "file                          age (97.5%)     >=18",
        "a.jpg                          34 (27-42)     0.97",
        "b.jpg                           -                -  empty file",
    ]
    estimates = [Estimate("a.jpg", 34.26, 26.9, 42.04, chance(0.966, 100)), failure]
    assert table(estimates, monkeypatch, columns=60, at_least=100) == [
        "file                    age  >=100",
        "a.jpg                  34.3   0.97",
        "b.jpg                     -      -  empty file",
    ]


@settings(deadline=None, derandomize=True)
@given(low=st.floats(0, 100) | st.integers(0, 200).map(lambda half: half / 2), width=st.floats(0, 16))
def test_a_shown_interval_holds_every_whole_age_that_the_real_one_holds(low: float, width: float) -> None:
    file = io.StringIO()
    write_table(file, coverage=0.9)(Estimate("a.jpg", low, low, low + width))
    shown = re.search(r"\((\d+)-(\d+)\)$", file.getvalue().rstrip())
    assert shown
    assert int(shown[1]) <= math.ceil(low)
    assert int(shown[2]) >= math.floor(low + width)


def test_the_table_shows_true_ages_where_the_first_name_begins_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["demo/new_faces/26_1_0_20170101000606042.jpg.chip.jpg", "61_1_20170109142408075.jpg", "face.jpg"]
    estimates: list[Result] = [Estimate(name, 25.2, 13.0, 35.0) for name in names]
    assert table(estimates, monkeypatch, columns=80, coverage=0.9) == [
        "file                          true   age (90%)",
        "…170101000606042.jpg.chip.jpg   26    25 (13-35)",
        "61_1_20170109142408075.jpg      61    25 (13-35)",
        "face.jpg                              25 (13-35)",
    ]
    assert "true" not in table(estimates[::-1], monkeypatch, columns=80, coverage=0.9)[0]


@pytest.mark.parametrize(
    "name",
    ["face.jpg", "2026_01_02.jpg", "26_2_0_20170101000606042.jpg", "26_1_5_20170101000606042.jpg", "26_1_0_1.jpg"],
)
def test_a_name_unlike_utkfaces_gives_no_true_age(name: str) -> None:
    assert true_age(name) is None
    assert true_age("26_1_0_20170101000606042.jpg") == 26


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_ages_stand_in_one_column_whatever_the_names(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    names = [*ODD_NAMES, NOT_UTF8, "long/" * 40 + "a.jpg", "顔" * 50]
    rows = table([Estimate(name, 7.0) for name in names], monkeypatch, columns=columns)
    assert len(rows) == 1 + len(names)
    assert {cells(row) for row in rows} == {cells(rows[0])}
    assert all(row.endswith("    7.0") for row in rows[1:])
    assert cells(rows[0]) <= columns


def test_a_clipped_name_keeps_its_end() -> None:
    assert fit("folder/face_0001.jpg", 10) == "…_0001.jpg"
    assert fit("face.jpg", 10) == "face.jpg  "
    assert fit("face_00001", 10) == "face_00001"


def test_a_name_cannot_steer_the_terminal() -> None:
    assert printable("\x1b[2Jface\n\x07.jpg") == "\\x1b[2Jface\\n\\x07.jpg"
    assert printable(NOT_UTF8) == "caf\\udce9.jpg"
    assert printable("ünïcode 顔") == "ünïcode 顔"
