"""Changed files, the same ones each time: whatever they hold, an image or an ImageError, a model or a ModelError."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from agedetect_runtime.errors import ImageError
from fuzzing import KINDS, case, changed, fuzz, images, model_files, open_image, open_model

SEED = 0
# Of each outcome, so that the changes are shown to go far and not far. These cases give at least 20 (an image 190 of
# 600, "not an image" 21; a model that is "refused when opened" 24 of 300); other versions of the libraries may differ.
AT_LEAST = 10


@pytest.mark.filterwarnings("ignore")  # Pillow's, about odd files
def test_a_changed_image_is_an_image_or_an_image_error() -> None:
    outcomes = fuzz("images", images(), open_image, range(600), seed=SEED)
    assert min(outcomes[how] for how in ("an image", "truncated", "not an image", "damaged")) >= AT_LEAST, outcomes


def test_a_changed_model_is_a_model_or_a_model_error(tmp_path: Path) -> None:
    open_one = partial(open_model, tmp_path / "changed.onnx")
    outcomes = fuzz("models", model_files(tmp_path), open_one, range(300), seed=SEED)
    assert min(outcomes[how] for how in ("refused unopened", "refused when opened", "opened and ran")) >= AT_LEAST, (
        outcomes
    )


def test_unchanged_files_open_and_each_change_changes_them(tmp_path: Path) -> None:
    assert {open_image(data) for data in images()} == {"an image"}
    assert {open_model(tmp_path / "same.onnx", data) for data in model_files(tmp_path)} == {"opened and ran"}
    data = bytes(range(100))
    for kind in KINDS:
        assert changed(data, [(kind, 0.5, 77, b"new")]) != data


def test_a_failure_names_its_case_which_is_made_again_from_seed_and_number() -> None:
    files, seen = [bytes(range(256))], list[bytes]()

    def fail_at_the_third(data: bytes) -> str:
        seen.append(data)
        if len(seen) == 3:
            raise ImageError("a bug")
        return "an image"

    with pytest.raises(ImageError) as caught:
        fuzz("images", files, fail_at_the_third, range(40, 50), seed=7)
    assert caught.value.__notes__ == ["the same case again: python tests/fuzzing.py images --seed 7 --only 42"]
    assert case(files, 7, 42) == seen[2]
    assert case(files, 7, 43) != seen[2] != case(files, 8, 42)
