"""One bar for a whole run: what the epochs advance it by is what it was opened with."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from agedetect.data.faces import read_faces
from agedetect.data.splits import split_faces
from agedetect.training.phases import Phase
from agedetect.training.progress import Progress, work
from test_fit import make_fit

PHASES = (Phase("head", 1, 2, 1.0), Phase("all", 3, 5, 1.0))


def test_the_work_is_that_of_the_epochs_that_are_left() -> None:
    sizes = {"train": 100, "validation": 10, "batch_size": 16}
    whole = work(PHASES, 0, **sizes, world=1)
    assert whole == (100 + 10) + 3 * (
        3 * 96 + 10
    )  # features once, then three epochs of six batches and their validation
    assert work(PHASES[1:], 4, **sizes, world=1) == 3 * 96 + 10
    assert work(PHASES, 0, **sizes, world=2) == whole // 2  # each process does its share


@pytest.mark.slow
def test_the_bar_of_a_run_is_full_when_its_epochs_are_done(
    drawn_faces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = split_faces(read_faces(drawn_faces).faces)
    fit = make_fit(splits, epochs=3, head_epochs=1)
    fit.progress = Progress(True)
    seen: list[tuple[float, float | None]] = []
    labels: set[str] = set()

    def watched(bar: tqdm[None], text: str, refresh: bool = True) -> None:
        labels.add(text)
        seen.append((bar.n, bar.total))

    monkeypatch.setattr(tqdm, "set_description", watched)
    for _ in fit.epochs():
        bar = fit.progress.current
        assert bar is not None
        seen.append((bar.n, bar.total))
    assert len({total for _, total in seen}) == 1  # one bar
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    assert {"training features", "epoch 1/3 (head)", "epoch 3/3 (all)", "validation"} <= labels
    assert fit.progress.current is None
    fit.predict(splits.test, "test")  # a bar of its own
    assert "test:" in capsys.readouterr().err


def test_a_log_line_does_not_tear_the_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    with Progress(True).bar("training", 10):
        logging.getLogger("agedetect").warning("epoch 1")
    assert "\nepoch 1\n" in capsys.readouterr().err.replace("\r", "\n")
