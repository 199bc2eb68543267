"""Where a model is read from: a file, which must stay the one that was opened, or bytes in memory."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from agedetect_runtime.errors import ModelError
from agedetect_runtime.modelfile import REMEDY, FileVersion, check_model_bytes, check_model_file, version_of

Model = str | os.PathLike[str] | bytes | bytearray | memoryview


@dataclass(frozen=True)
class ModelSource:
    """A model that `modelfile` has checked. `name` begins each message, `remedy` ends those of what is no model.

    `version` is None for bytes.
    """

    place: Path | bytes = field(repr=False)
    name: str
    version: FileVersion | None
    remedy: str = REMEDY

    @classmethod
    def checked(cls, model: Model, remedy: str = REMEDY) -> ModelSource:
        """Raises ModelError, beginning with the model's name, for anything but a complete, self-contained model."""
        if isinstance(model, bytes | bytearray | memoryview):
            data = bytes(model)
            name = f"model of {len(data):,} bytes"
            check_model_bytes(data, name, remedy)
            return cls(data, name, None, remedy)
        path = Path(model).absolute()  # found again after a chdir
        return cls(path, path.name, check_model_file(path, remedy), remedy)

    @property
    def label(self) -> str:
        """For a `repr`: the file's name in quotes, or how many bytes."""
        return repr(self.name) if isinstance(self.place, Path) else f"<{len(self.place):,} bytes>"

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is still the very one that was checked: not replaced, written or deleted."""
        try:
            return isinstance(self.place, bytes) or version_of(self.place.stat()) == self.version
        except OSError:
            return False

    def require_unchanged(self) -> None:
        """Raises ModelError: another model's ages would be worse than none."""
        if not self.is_unchanged:
            raise ModelError(f"{self.name}: has changed since it was opened; create a new AgeEstimator")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the model, in hex. Raises ModelError where the file has changed since it was checked."""
        if isinstance(self.place, bytes):
            return hashlib.sha256(self.place).hexdigest()
        self.require_unchanged()
        try:
            with self.place.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{self.name}: cannot be read: {(error.strerror or str(error)).lower()}") from error
        self.require_unchanged()
        return digest

    def for_onnx_runtime(self) -> str | bytes:
        """What `InferenceSession` takes: a path, or the bytes of a file whose path isn't valid UTF-8."""
        if isinstance(self.place, bytes):
            return self.place
        try:
            self.place.as_posix().encode()
        except UnicodeEncodeError:
            return self.place.read_bytes()
        return str(self.place)
