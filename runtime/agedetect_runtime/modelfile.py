"""Checks on a model file before ONNX Runtime opens it: a complete, self-contained ONNX file of sane sizes.

ONNX Runtime reads the other files that a model names, in some versions wherever they are. This module
walks the file's protobuf messages without copying or decoding them, so a model of 100 MB takes milliseconds.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from agedetect_runtime.errors import ModelError

REMEDY = "export it with agedetect-export"

MAX_FILE_BYTES = 2**31 - 1  # protobuf's own limit for one message
MAX_METADATA_BYTES = 16 * 2**20  # a spec takes a few kB, most of it the model card
MAX_ELEMENTS = 2**28  # of one value: 1 GB of float32
MAX_FIELDS = 1_000_000  # numbers in the structure: ResNet-50 has 12,000, and a million takes a second
MAX_DEPTH = 100  # protobuf's own limit

# The messages that lead to tensors and shapes: by field number, as in onnx/onnx.proto of ONNX 1.23.
_CHILDREN = {
    "model": {7: "graph", 14: "metadata", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute", 12: "value"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "dimension"},
}
_LENGTH = 1  # in a tensor, and in a shape's dimension
_EXTERNAL = {13, 14}  # a tensor's external_data and data_location
_NUMBER, _SPAN = 0, 2  # protobuf's wire types; no ONNX file has its groups, 3 and 4
_FIXED_BYTES = {1: 8, 5: 4}
_NOT_ONNX = "not an ONNX file, or truncated"

Buffer = bytes | mmap.mmap
FileVersion = tuple[int, int, int, int]  # device, inode, size, time of change


def check_model_file(path: Path, remedy: str = REMEDY) -> FileVersion:
    """Which file it was. Raises ModelError, beginning with its name, for anything but a complete, self-contained model.

    What the model computes is not checked: it is a program, and a run may take any amount of time and memory.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                if status.st_size == 0:
                    raise ModelError("empty file")
                if status.st_size > MAX_FILE_BYTES:
                    raise ModelError(f"{status.st_size} bytes, but an ONNX file has at most {MAX_FILE_BYTES}")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    check_model(data)
            return version_of(status)
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}; {remedy}") from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ModelError(f"{path.name}: cannot be read: {reason}; {remedy}") from error
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
    instead = "give an .onnx file that agedetect-export wrote" if remedy == REMEDY else remedy
    raise ModelError(f"{path.name}: is {kind}; {instead}")


def check_model_bytes(data: bytes, name: str, remedy: str = REMEDY) -> None:
    """The same for a file's content in memory; `name` begins the message."""
    try:
        if not data:
            raise ModelError("no bytes")
        check_model(data)
    except ModelError as error:
        raise ModelError(f"{name}: {error}; {remedy}") from error


def version_of(status: os.stat_result) -> FileVersion:
    """What changes when a file is replaced or written."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check_model(data: Buffer) -> None:
    """Raise ModelError, without a file name, for bytes that are not an ONNX file as we would write it."""
    _Scan(data).check("model", 0, len(data), 1)


class _Scan:
    """One pass over a file. It counts the fields, so that no file can keep it busy for long."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._fields_left = MAX_FIELDS
        self._metadata_bytes_left = MAX_METADATA_BYTES

    def check(self, kind: str, start: int, end: int, depth: int) -> None:
        """Check a message of a kind in `_CHILDREN`, and those inside it."""
        if depth > MAX_DEPTH:
            raise ModelError(f"it is nested deeper than {MAX_DEPTH} levels")
        if kind == "sparse tensor":
            raise ModelError("it holds a sparse tensor, which expands to any size")
        if kind == "tensor":
            self._check_tensor(start, end)
        elif kind == "shape":
            _element_count(self._fixed_lengths(start, end))
        elif kind == "metadata":
            self._metadata_bytes_left -= end - start
            if self._metadata_bytes_left < 0:
                raise ModelError(f"its metadata has more than {MAX_METADATA_BYTES} bytes")
        elif kind in _CHILDREN:
            for number, value in self._fields(start, end):
                if isinstance(value, tuple) and number in _CHILDREN[kind]:
                    self.check(_CHILDREN[kind][number], *value, depth + 1)

    def _check_tensor(self, start: int, end: int) -> None:
        elements = _element_count(self._tensor_lengths(start, end))
        if elements > 4 * (end - start):  # the smallest element has two bits
            raise ModelError(f"it declares a tensor of {elements} elements and holds {end - start} bytes of it")

    def _tensor_lengths(self, start: int, end: int) -> Iterator[int]:
        for number, value in self._fields(start, end):
            if number in _EXTERNAL and value != 0:  # 0: explicitly in this file
                raise ModelError("its weights are in another file, but a model must be a single file")
            if number == _LENGTH:
                yield from (value,) if isinstance(value, int) else self._packed(*value)

    def _fixed_lengths(self, start: int, end: int) -> Iterator[int]:
        """The lengths in a shape, but for those with a name, as the batch has one."""
        for _, dimension in self._fields(start, end):
            if isinstance(dimension, tuple):
                for number, value in self._fields(*dimension):
                    if number == _LENGTH and isinstance(value, int):
                        yield value

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
        """The fields of one message: their number, and their value or the span of their bytes.

        https://protobuf.dev/programming-guides/encoding says how they are written.
        """
        while start < end:
            key, start = self._number(start, end)
            if key & 7 == _NUMBER:
                value, start = self._number(start, end)
                yield key >> 3, value
                continue
            length = _FIXED_BYTES.get(key & 7)
            if key & 7 == _SPAN:
                length, start = self._number(start, end)
            if length is None or key < 8 or start + length > end:
                raise ModelError(_NOT_ONNX)
            yield key >> 3, (start, start + length)
            start += length

    def _packed(self, start: int, end: int) -> Iterator[int]:
        while start < end:
            number, start = self._number(start, end)
            yield number

    def _number(self, start: int, end: int) -> tuple[int, int]:
        """A varint, unsigned, and where it ends: a negative number is one above 2^63."""
        self._fields_left -= 1
        if self._fields_left < 0:
            raise ModelError(f"it has more than {MAX_FIELDS} parts")
        value = 0
        for position in range(start, min(end, start + 10)):
            byte = self._data[position]
            value |= (byte & 0x7F) << 7 * (position - start)
            if byte < 0x80:
                return value, position + 1
        raise ModelError(_NOT_ONNX)


def _element_count(lengths: Iterable[int]) -> int:
    elements = 1
    for length in lengths:
        elements *= length
        if elements > MAX_ELEMENTS:
            raise ModelError(f"it declares a value of {elements} elements, the limit is {MAX_ELEMENTS}")
    return elements
