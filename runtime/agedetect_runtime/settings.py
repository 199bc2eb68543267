"""What a call of `agedetect-infer` asks for, checked before anything is read or written."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import click

from agedetect_runtime.errors import AgedetectError
from agedetect_runtime.partfile import paths_of
from agedetect_runtime.report import FORMATS, format_of

_STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of `agedetect-infer`, by their names. Those that contradict each other raise click.UsageError."""

    faces: tuple[str, ...]
    model: Path
    output: Path | None
    form: str | None
    force: bool
    resume: bool
    report: Path | None
    annotate: Path | None
    at_least: int | None
    find_faces: bool
    largest: bool
    detector: Path | None
    device: str
    batch_size: int | None
    threads: int | None
    image_seconds: float
    benchmark: bool
    strict: bool
    quiet: bool

    def __post_init__(self) -> None:
        if self.file is not None and format_of(self.file, self.form) is None:
            suffixes = ", ".join(f".{name}" for name in FORMATS)
            raise _wrong("output", f"{self.file}: the suffix is not one of {suffixes}; choose one, or add --format")
        if self.file is None and self.form == "parquet":
            raise _wrong("format", "parquet needs a file: --output NAME.parquet")
        if self.resume and self.file is None:
            raise _wrong("resume", "it needs the --output of the interrupted job")
        if self.resume and self.force:
            raise _wrong("resume", "it continues a job, and --force starts it over: omit one of them")
        if self.resume and self.annotate:
            raise _wrong("annotate", "it starts afresh: omit --resume")
        if self.benchmark and (self.file or self.report or self.annotate or self.threads or self.batch_size):
            raise _wrong(
                "benchmark", "it writes no ages, and tries threads and batch sizes by itself: omit the options for them"
            )
        for name, value in (("largest", self.largest), ("detector", self.detector)):
            if value and not self.find_faces:
                raise _wrong(name, "it needs --find-faces")

    @property
    def file(self) -> Path | None:
        """Where rows go; None for standard output."""
        return None if self.output == _STANDARD_OUTPUT else self.output

    @property
    def format(self) -> str | None:
        """As asked for; None where it follows from the suffix, or from what standard output is."""
        return "csv" if self.form is None and self.output == _STANDARD_OUTPUT else self.form

    @property
    def written(self) -> list[tuple[str, str]]:
        """The real path of each file that the job writes, beside the option that it is for."""
        rows = [] if self.file is None else [("--output", str(path)) for path in paths_of(self.file)]
        return rows if self.report is None else [*rows, ("--report", os.path.realpath(self.report))]

    def check_places(self) -> None:
        """Raise AgedetectError for two files in one place, and for a file that this call may not replace."""
        taken = {} if self.detector is None else {os.path.realpath(self.detector): "--detector"}
        taken[os.path.realpath(self.model)] = "--onnx"
        for option, path in self.written:
            if path in taken:
                raise AgedetectError(f"{path}: {option} would replace what {taken[path]} needs; choose another name")
            taken[path] = option
        if self.force or self.resume:  # whose output `partfile` looks after
            return
        for place in (self.file, self.report):
            if place is not None and os.path.exists(place):  # noqa: PTH110 (Path's raises where a folder is closed)
                raise AgedetectError(f"{place}: already exists; use --force to replace it, or choose another name")

    def metadata(self, model: str) -> dict[str, object]:
        """What the rows depend on besides the images: rows of two models, told by their SHA-256, don't mix."""
        from agedetect_runtime.providers import version_of

        known: dict[str, object] = {
            "model": model,
            "--at-least": self.at_least,
            "version of agedetect": version_of("agedetect"),
        }
        if self.detector is None:
            return known
        return {**known, "detector": _digest(self.detector), "--largest": self.largest}


def _wrong(option: str, what: str) -> click.BadParameter:
    return click.BadParameter(what, param_hint=f"'--{option}'")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
