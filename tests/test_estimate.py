"""What an estimate says: the probability of an age, a repr without pixels, and types that a checker can follow."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agedetect_runtime.errors import AgedetectError, ModelError
from agedetect_runtime.estimate import Estimate, Failure, check_at_least
from tiny_models import tiny_spec


def around(age: int, min_age: int = 0) -> Estimate:
    """1, 2, 3, 4, 3, 2, 1 sixteenths around an age."""
    distances = np.abs(np.arange(min_age, 117, dtype=np.float32) - age)
    return Estimate("a.jpg", float(age), probabilities=np.maximum(0, 4 - distances) / 16, min_age=min_age)


@pytest.mark.parametrize("min_age", [0, 10])
@pytest.mark.parametrize(
    ("years", "sixteenths"),
    [(18, 16), (19, 16), (19.5, 15), (20, 15), (21, 13), (22, 10), (23, 6), (24, 3), (25, 1), (26, 0), (116, 0)],
)
def test_the_probability_of_an_age_or_more_is_the_sum_from_that_age_on(
    min_age: int, years: float, sixteenths: int
) -> None:
    assert around(22, min_age).at_least(years) == sixteenths / 16  # float32 adds sixteenths exactly


def test_a_probability_is_never_above_one() -> None:
    half = np.nextafter(np.float32(0.5), np.float32(1))
    estimate = Estimate("a.jpg", 1.5, probabilities=np.array([0, half, half]))
    assert float(half + half) > 1
    assert estimate.at_least(1) == 1


def test_without_probabilities_the_remedy_is_named() -> None:
    with pytest.raises(
        AgedetectError, match=r"^at_least\(18\): .* no probabilities; call .* with probabilities=True, on"
    ):
        Estimate("a.jpg", 30.0).at_least(18)


@pytest.mark.parametrize("years", [18, 21, 116.5, 117, float("nan")])
def test_an_age_that_the_model_cannot_tell_is_refused(years: float) -> None:
    words = rf"knows ages from 21 to 116 only, so it can't tell who is at least {years:g} years old; ask for an age"
    with pytest.raises(ModelError, match=f"^at_least: the model {words}"):
        around(30, min_age=21).at_least(years)
    with pytest.raises(ModelError, match=rf"^age\.onnx: it {words}"):
        check_at_least(tiny_spec(head="distribution", min_age=21), years, "age.onnx")


def test_a_model_without_probabilities_cannot_say_who_is_old_enough() -> None:
    check_at_least(tiny_spec(head="distribution"), 18, "age.onnx")
    with pytest.raises(ModelError, match=r"^age\.onnx: it gives no probabilities, .* at least 18 years old; train one"):
        check_at_least(tiny_spec(), 18, "age.onnx")


def test_a_repr_has_the_years_and_no_pixel_and_no_probability() -> None:
    assert repr(Estimate("a.jpg", 34.24681)) == "Estimate('a.jpg', age=34.25)"
    assert (
        repr(Estimate(b"x" * 12_345, 34.0, 27.5, 42.0)) == "Estimate(<12,345 bytes>, age=34.00, low=27.50, high=42.00)"
    )
    pixels: NDArray[np.uint8] = np.zeros((200, 200, 3), np.uint8)
    estimate = Estimate(pixels, 34.0, probabilities=np.zeros(117, np.float32))
    assert repr(estimate) == "Estimate(<uint8 (200, 200, 3)>, age=34.00, probabilities=<float32 (117,)>)"
    assert repr(Failure(pixels, "not an image")) == "Failure(<uint8 (200, 200, 3)>, error='not an image')"


def test_estimates_and_failures_have_the_same_fields_and_cannot_be_changed() -> None:
    estimate, failure = Estimate("a.jpg", 30.0, 20.0, 40.0), Failure("b.jpg", "empty file")
    rows = [(row.source, row.age, row.low, row.high, row.probabilities, row.error) for row in (estimate, failure)]
    assert rows == [("a.jpg", 30.0, 20.0, 40.0, None, None), ("b.jpg", None, None, None, None, "empty file")]
    for row in (estimate, failure):
        assert pickle.loads(pickle.dumps(row)) == row
        with pytest.raises(AttributeError):
            row.age = 1.0  # type: ignore[misc]


USE = """
import io
from pathlib import Path
import numpy as np
from agedetect_runtime import AgeEstimator, Estimate, Failure, Result, Source, walk_images

with AgeEstimator("model.onnx") as estimator, open("a.jpg", "rb") as file:
    older: float = estimator.predict("a.jpg").age + 1
    adult: float = estimator.predict(Path("a.jpg"), probabilities=True).at_least(18)
    sources: list[Source] = ["a", Path("a"), b"a", bytearray(b"a"), memoryview(b"a"), io.BytesIO(), file]
    sources.append(np.zeros((4, 4, 3), np.uint8))
    for row in estimator.predict_many(sources):
        print(row.source, row.age, row.low, row.high, row.error)
        if row.error is None:
            older = row.age + 1
        else:
            reason: str = row.error
    for result in estimator.predict_many(walk_images("faces")):
        if isinstance(result, Estimate):
            older = result.age + 1
AgeEstimator(Path("model.onnx").read_bytes()).close()
"""
MISUSE = """
from agedetect_runtime import AgeEstimator
for row in AgeEstimator("model.onnx").predict_many(["a.jpg"]):
    row.age + 1
    row.at_least(18)
"""


@pytest.mark.slow
def test_a_strict_type_checker_accepts_the_use_and_finds_the_misuse(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "misuse.py").write_text(MISUSE)
    call = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py", "misuse.py"]
    runtime = Path(__file__).resolve().parent.parent / "runtime"
    environment = {**os.environ, "MYPYPATH": str(runtime)}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    *errors, _ = done.stdout.splitlines()
    assert {line.split(":")[0] for line in errors} == {"misuse.py"}, done.stdout
    assert [":4: error: Unsupported operand" in done.stdout, ":5: error: Item " in done.stdout] == [True, True]
