"""Formats that are whole only at their end, one JSON array and Parquet: what JSON lines become when a job is done.

So these files, too, can be resumed, and no more than a group of rows is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from agedetect_runtime.errors import AgedetectError

_GROUP_ROWS = 65_536  # of a Parquet file: some 10 MB


class Text(Protocol):
    """Where text is written to."""

    def write(self, text: str, /) -> object: ...


class JsonArray:
    """Rows of JSON lines, written as the elements of one array."""

    def __init__(self, file: Text) -> None:
        self._file = file
        self._separator = "[\n"

    def write(self, rows: Sequence[str]) -> None:
        """One or more rows."""
        self._file.write(self._separator + ",\n".join(row.removesuffix("\n") for row in rows))
        self._separator = ",\n"

    def finish(self) -> None:
        self._file.write("[]\n" if self._separator == "[\n" else "\n]\n")


def write_json(lines: Iterable[str], place: Path, columns: Sequence[str]) -> None:
    """The array. `columns` are those of `write_parquet`."""
    with place.open("w", encoding="utf-8", newline="\n") as file:
        array = JsonArray(file)
        for line in lines:
            array.write([line])
        array.finish()


def write_parquet(lines: Iterable[str], place: Path, columns: Sequence[str]) -> None:
    """A table of `columns` with zstd: names and reasons are strings, a face's number an int32, all others doubles."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"file": pa.string(), "error": pa.string(), "face": pa.int32()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in columns])
    with pq.ParquetWriter(place, schema, compression="zstd") as writer:
        for group in _groups(lines):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def require_pyarrow(place: Path) -> None:
    """Raises AgedetectError where it isn't installed."""
    if find_spec("pyarrow") is None:
        raise AgedetectError(
            f"{place}: Parquet needs pyarrow, which is not installed; pip install pyarrow, or choose .csv or .jsonl"
        )


def _groups(lines: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(lines)
    while group := [json.loads(line) for line in islice(remaining, _GROUP_ROWS)]:
        yield group
