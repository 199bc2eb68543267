"""No intact TIFF file is read wrong: `tiff_matrix` has the files, and the pixels of each from what was written."""

from __future__ import annotations

from collections import Counter

import pytest

from agedetect_runtime import encoded
from conftest import ROOT
from tiff_matrix import counts, layouts, outcome


@pytest.fixture(scope="module")
def outcomes() -> list[str]:
    return [outcome(layout) for layout in layouts()]


def test_every_layout_is_read_right_or_refused_as_unsupported(outcomes: list[str]) -> None:
    others = Counter(found for found in outcomes if found != "right" and not found.startswith("unsupported: TIFF of "))
    lab = others.pop("unsupported: TIFF with photometric tag 8")
    assert not others
    assert lab > 0


def test_the_docs_have_the_counts(outcomes: list[str]) -> None:
    right = outcomes.count("right")
    told = f"| none, deflate | {len(outcomes)} | {right} | {len(outcomes) - right} | 0 |"
    assert told in (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


def test_without_the_check_the_matrix_finds_files_that_pillow_reads_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "check_tiff", lambda file: None)
    assert counts([None])["wrong"] > 20
