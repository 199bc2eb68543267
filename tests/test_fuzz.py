"""Changed files, the same ones each time: whatever they hold, an image or an ImageError, a model or a ModelError."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzzing import changed, fuzz, images, model_files, open_image, open_model


@pytest.mark.filterwarnings("ignore")  # Pillow's, about odd files
def test_a_changed_image_is_an_image_or_an_image_error() -> None:
    outcomes = fuzz(images(), open_image, examples=600, seed=None)
    assert {"an image", "truncated", "not an image", "damaged"} <= outcomes.keys()  # it went far and not far


def test_a_changed_model_is_a_model_or_a_model_error(tmp_path: Path) -> None:
    files = model_files(tmp_path)
    outcomes = fuzz(files, lambda data: open_model(tmp_path / "changed.onnx", data), examples=300, seed=None)
    # Each is a twentieth or more, and the sample changes with every constant that Hypothesis finds in our code.
    assert min(outcomes[how] for how in ("refused unopened", "refused when opened", "opened and ran")) > 5


def test_unchanged_files_open_and_each_change_changes_them(tmp_path: Path) -> None:
    assert {open_image(data) for data in images()} == {"an image"}
    assert {open_model(tmp_path / "same.onnx", data) for data in model_files(tmp_path)} == {"opened and ran"}
    data = bytes(range(100))
    for kind in ("flip", "set", "insert", "delete", "cut", "repeat", "number"):
        assert changed(data, [(kind, 0.5, 77, b"new")]) != data
