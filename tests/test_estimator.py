"""Ages from images: the right ones, in order, lazily, whatever the batch, with bad images in their rows."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from agedetect_runtime import AgeEstimator, Estimate, Failure, ImageError, ModelError, Source, session, walk_images
from agedetect_runtime.cores import usable_cores
from agedetect_runtime.images import load_face
from agedetect_runtime.pipeline import batches_ahead
from agedetect_runtime.session import Ages, Session
from tiny_models import age_by_hand, tiny_spec, write_tiny_model

# float32 means of 32 x 32 levels, added up in an order that ONNX Runtime may choose by batch size.
FLOAT32_YEARS = 1e-4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "age.onnx")


@pytest.fixture(scope="module")
def estimator(model: Path) -> AgeEstimator:
    return AgeEstimator(model, device="cpu", threads=1, batch_size=4)


def noise(seed: int, side: int = 40) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8) // (seed % 5 + 1)


def test_the_age_is_the_models_on_the_preprocessed_face(estimator: AgeEstimator) -> None:
    expected = age_by_hand(load_face(noise(1), 32, "bilinear"))
    assert estimator.predict(noise(1)).age == pytest.approx(expected, abs=FLOAT32_YEARS)
    pure_red = np.zeros((32, 32, 3), np.uint8)
    pure_red[..., 0] = 200
    assert estimator.predict(pure_red).age == 41.0  # 1 + 0.2 x 200: red, not blue


def test_the_resampling_of_the_spec_is_used(tmp_path: Path) -> None:
    spec = tiny_spec().to_json().replace("bilinear", "bicubic")
    bicubic = AgeEstimator(write_tiny_model(tmp_path / "age.onnx", metadata=spec), device="cpu")
    dots = np.zeros((61, 61, 3), np.uint8)
    dots[::3, ::5] = 255
    ages = {name: age_by_hand(load_face(dots, 32, name)) for name in ("bilinear", "bicubic")}
    assert abs(ages["bilinear"] - ages["bicubic"]) > 10 * FLOAT32_YEARS
    assert bicubic.predict(dots).age == pytest.approx(ages["bicubic"], abs=FLOAT32_YEARS)


def test_what_the_model_says_about_itself_and_what_it_runs_on(estimator: AgeEstimator) -> None:
    assert estimator.spec == tiny_spec()
    assert (estimator.device, estimator.provider) == ("cpu", "CPUExecutionProvider")
    assert estimator.cuda_note is None


def test_a_caller_alone_gets_all_threads_and_several_share_the_cores(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = AgeEstimator(model, device="cpu", threads=2)
    wide: list[bool] = []
    run = Session.run

    def watched(session: Session, faces: NDArray[np.uint8], **how: bool) -> Ages:
        wide.append(how["all_threads"])
        return run(session, faces, **how)

    monkeypatch.setattr(Session, "run", watched)

    class AsksMeanwhile(os.PathLike[str]):
        def __fspath__(self) -> str:
            with ThreadPoolExecutor(1) as other:
                other.submit(estimator.predict, noise(2)).result()
            return "none.jpg"

    estimator.predict(noise(1))
    with pytest.raises(ImageError):
        estimator.predict(AsksMeanwhile())
    estimator.ages(noise(3, side=32)[None])  # the call that raised is no longer counted
    assert wide == [True, False, True]


def test_every_kind_of_source_gives_the_same_age(estimator: AgeEstimator, tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    Image.fromarray(noise(3)).save(path)
    data = path.read_bytes()
    with Image.open(path) as image, path.open("rb") as file, path.open("rb", buffering=0) as raw:
        plain: list[Source] = [str(path), path, data, bytearray(data), memoryview(data), image, np.asarray(image)]
        files: list[io.BytesIO | io.BufferedReader | io.FileIO] = [io.BytesIO(data), file, raw]
        ages = [estimator.predict(source).age for source in [*plain, *files]]
        for opened in files:
            assert not opened.closed
            opened.seek(0)
        together = [result.age for result in estimator.predict_many([*plain, *files])]
    assert len({*ages}) == 1
    assert together == pytest.approx(ages, abs=FLOAT32_YEARS)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(order=st.permutations(range(9)), batch_size=st.integers(1, 12))
def test_batch_size_and_order_are_invisible(model: Path, order: list[int], batch_size: int) -> None:
    estimator = AgeEstimator(model, device="cpu", threads=1, batch_size=batch_size)
    estimates = list(estimator.predict_many(noise(seed) for seed in order))
    for seed, estimate in zip(order, estimates, strict=True):
        expected = age_by_hand(load_face(noise(seed), 32, "bilinear"))
        assert estimate.age == pytest.approx(expected, abs=FLOAT32_YEARS)


def test_bad_images_have_a_reason_and_the_others_an_age(estimator: AgeEstimator, tmp_path: Path) -> None:
    cut = io.BytesIO()
    Image.fromarray(noise(2)).save(cut, "JPEG")
    sources: list[Source] = [noise(0), b"junk", noise(1), tmp_path / "none.jpg", cut.getvalue()[:900], b"", noise(2)]
    estimates = list(estimator.predict_many(sources))
    assert [estimate.source is source for estimate, source in zip(estimates, sources, strict=True)] == [True] * 7
    assert [estimate.error for estimate in estimates] == [
        None,
        "not an image",
        None,
        "no such file",
        "truncated",
        "empty file",
        None,
    ]
    for estimate in estimates:
        assert (estimate.age is None) == (estimate.error is not None)
    assert estimates[2].age == estimator.predict(noise(1)).age


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        ("faces/", r"'faces/'"),
        (Path("faces"), r"PosixPath\('faces'\)"),
        (b"\xff\xd8\xff", "<3 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (memoryview(b"123"), "<3 bytes>"),
        (io.BytesIO(b"123"), "<BytesIO>"),
        (Image.new("RGB", (4, 5)), "<RGB image, 4 x 5>"),
        (np.zeros((8, 9, 3), np.uint8), r"<uint8 \(8, 9, 3\)>"),
        (np.zeros((8, 9), np.float32), r"<float32 \(8, 9\)>"),
    ],
)
def test_one_source_is_no_iterable_of_sources(estimator: AgeEstimator, one: Any, shown: str) -> None:
    """Of a text its letters would be taken for paths, of an open file its lines."""
    with pytest.raises(
        TypeError, match=rf"^predict_many takes an iterable of sources, and {shown} is one source; call"
    ):
        estimator.predict_many(one)  # at the call: no result was requested


def test_what_is_no_iterable_is_refused_at_the_call(estimator: AgeEstimator) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        estimator.predict_many(None)  # type: ignore[arg-type]


def test_a_batch_of_arrays_and_an_array_of_paths_are_iterables(estimator: AgeEstimator, tmp_path: Path) -> None:
    batch = np.stack([noise(1), noise(2)])
    assert [result.age for result in estimator.predict_many(batch)] == [
        result.age for result in estimator.predict_many([noise(1), noise(2)])
    ]
    (result,) = estimator.predict_many(np.array([str(tmp_path / "none.jpg")]))
    assert result.error == "no such file"


def test_the_images_of_a_folder_are_an_iterable(estimator: AgeEstimator, tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(noise(1)).save(tmp_path / name)
    assert [Path(str(result.source)).name for result in estimator.predict_many(walk_images(tmp_path))] == [
        "a.png",
        "b.png",
    ]


def test_a_batch_of_bad_images_alone_is_no_trouble(estimator: AgeEstimator) -> None:
    assert [estimate.error for estimate in estimator.predict_many([b""] * 9)] == ["empty file"] * 9
    assert list(estimator.predict_many([])) == []


def test_predict_raises_the_reason(estimator: AgeEstimator) -> None:
    with pytest.raises(ImageError, match=r"^no such file$"):
        estimator.predict("none.jpg")


def test_sources_are_taken_only_when_needed_and_so_far_ahead_and_no_further(estimator: AgeEstimator) -> None:
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield noise(taken)

    estimates = estimator.predict_many(endless())
    assert taken == 0
    for count in range(1, 60):
        next(estimates)
        assert count <= taken < count + batches_ahead(estimator.threads) * estimator.batch_size
    estimates.close()


def test_an_answer_that_is_no_number_is_an_error_in_its_row(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "age.onnx", black_is_nan=True, coverage=0.9)
    estimator = AgeEstimator(path, device="cpu")
    black = np.zeros((32, 32, 3), np.uint8)
    first, second = estimator.predict_many([black, noise(1)])
    assert first == Failure(black, "the model's answer is not a number: nan")
    assert second.error is None
    with pytest.raises(ModelError, match="not a number: nan"):
        estimator.predict(black)


def test_an_infinite_age_is_an_error(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "age.onnx", bias=float("inf"))
    (estimate,) = AgeEstimator(path, device="cpu").predict_many([noise(1)])
    assert (estimate.age, estimate.error) == (None, "the model's answer is not a number: inf")


def test_intervals_come_where_the_model_has_them(estimator: AgeEstimator, tmp_path: Path) -> None:
    with_them = AgeEstimator(write_tiny_model(tmp_path / "age.onnx", coverage=0.9), device="cpu")
    estimate = with_them.predict(noise(1))
    assert (estimate.low, estimate.high) == pytest.approx((estimate.age - 5, estimate.age + 5))
    alone = estimator.predict(noise(1))
    assert (alone.low, alone.high) == (None, None)


def grey(level: int) -> NDArray[np.uint8]:
    """A face of age 1 + 0.35 x level."""
    return np.full((32, 32, 3), level, np.uint8)


@pytest.fixture
def distribution(tmp_path: Path) -> AgeEstimator:
    """A model that gives probabilities: around 22 years 1, 2, 3, 4, 3, 2, 1 sixteenths, from 19 to 25."""
    model = write_tiny_model(tmp_path / "age.onnx", head="distribution", min_age=10, coverage=0.9)
    return AgeEstimator(model, device="cpu", threads=2, batch_size=2)


def test_probabilities_come_where_they_are_requested(distribution: AgeEstimator) -> None:
    estimate = distribution.predict(grey(60), probabilities=True)
    assert estimate.probabilities is not None
    assert (estimate.probabilities.shape, estimate.probabilities.dtype, estimate.min_age) == (
        (107,),
        np.dtype(np.float32),
        10,
    )
    assert (16 * estimate.probabilities[9:16]).tolist() == pytest.approx([1, 2, 3, 4, 3, 2, 1], abs=FLOAT32_YEARS)
    assert (estimate.age, estimate.low, estimate.high) == pytest.approx((22, 17, 27))
    assert distribution.predict(grey(60)).probabilities is None
    assert next(distribution.predict_many([grey(60)])).probabilities is None


def test_each_face_of_a_batch_has_its_own_probabilities_and_a_bad_image_none(distribution: AgeEstimator) -> None:
    sources: list[Source] = [grey(20), b"", grey(60), grey(100), b"junk", grey(0)]
    results = list(distribution.predict_many(sources, probabilities=True))
    assert [type(result) for result in results] == [Estimate, Failure, Estimate, Estimate, Failure, Estimate]
    chances = [result.at_least(21) for result in results if result.error is None]
    assert chances == [0, pytest.approx(13 / 16, abs=FLOAT32_YEARS), pytest.approx(1), 0]
    alone = distribution.predict(grey(60), probabilities=True).probabilities
    assert results[2].probabilities == pytest.approx(alone, abs=FLOAT32_YEARS)


def test_probabilities_of_a_model_without_them_are_refused_before_anything_is_read(estimator: AgeEstimator) -> None:
    def never() -> Iterator[str]:
        pytest.fail("a source was taken")
        yield ""

    calls: list[Callable[[], object]] = [
        lambda: estimator.predict("none.jpg", probabilities=True),
        lambda: estimator.predict_many(never(), probabilities=True),
        lambda: estimator.ages(noise(1, 32)[None], probabilities=True),
    ]
    for call in calls:
        with pytest.raises(ModelError, match=r"^age\.onnx: its regression head gives no probabilities; train one with"):
            call()


def test_probabilities_that_are_no_numbers_are_an_error_in_their_row(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "age.onnx", head="distribution")
    edited = onnx.load(model)
    *others, divide = edited.graph.node
    divide.input[1] = "zero"  # for a black face, whose age stays 1
    del edited.graph.node[:]
    edited.graph.node.extend([*others, helper.make_node("Unsqueeze", ["sums", "column"], ["zero"]), divide])
    onnx.save(edited, model)
    black, red = AgeEstimator(model, device="cpu").predict_many([grey(0), grey(60)], probabilities=True)
    assert (black.error, red.error) == ("the model's answer is not a number: 1.0", None)


def test_preprocessed_faces_give_the_models_raw_answers(tmp_path: Path) -> None:
    estimator = AgeEstimator(write_tiny_model(tmp_path / "age.onnx", black_is_nan=True), device="cpu")
    faces = np.stack([noise(1, 32), np.zeros((32, 32, 3), np.uint8), noise(2, 32)])
    ages = estimator.ages(faces)
    assert (ages.age.shape, ages.age.dtype, ages.low, ages.high) == ((3,), np.dtype(np.float32), None, None)
    assert np.isnan(ages.age).tolist() == [False, True, False]
    assert ages.age[2] == pytest.approx(age_by_hand(faces[2]), abs=FLOAT32_YEARS)
    assert estimator.ages(faces[::-2]).age[0] == pytest.approx(ages.age[2], abs=FLOAT32_YEARS)
    assert estimator.ages(faces[:0]).age.shape == (0,)


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((1, 31, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
    ],
)
def test_faces_of_another_shape_or_type_are_refused(estimator: AgeEstimator, faces: NDArray[np.generic]) -> None:
    with pytest.raises(ImageError, match=r"give uint8 \(B, 32, 32, 3\)") as caught:
        estimator.ages(faces)  # type: ignore[arg-type]
    assert f"{faces.shape} and dtype {faces.dtype}" in str(caught.value)


def test_numbers_that_make_no_sense_are_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="batch_size 0 is not at least 1"):
        AgeEstimator(model, batch_size=0)
    with pytest.raises(ValueError, match="threads 0 is not at least 1"):
        AgeEstimator(model, threads=0)
    with pytest.raises(ValueError, match="image_seconds 0 is not above 0"):
        AgeEstimator(model, image_seconds=0)


def test_without_flags_the_threads_are_the_cores_and_a_batch_on_a_cpu_is_small(model: Path) -> None:
    estimator = AgeEstimator(model, device="cpu")
    assert (estimator.threads, estimator.batch_size, estimator.image_seconds) == (usable_cores(), 8, 30.0)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_are_invisible(model: Path, threads: int) -> None:
    estimator = AgeEstimator(model, device="cpu", threads=threads, batch_size=3)
    estimates = list(estimator.predict_many(map(noise, range(40))))
    expected = [age_by_hand(load_face(noise(seed), 32, "bilinear")) for seed in range(40)]
    assert [estimate.age for estimate in estimates] == pytest.approx(expected, abs=FLOAT32_YEARS)
    one = AgeEstimator(model, device="cpu", threads=1, batch_size=3)
    assert [item.age for item in one.predict_many(map(noise, range(40)))] == [item.age for item in estimates]


def test_a_model_file_that_was_replaced_is_not_mixed_with_the_one_that_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_model(tmp_path / "age.onnx")
    estimator = AgeEstimator(path, device="cpu", threads=2)
    write_tiny_model(tmp_path / "other.onnx", bias=50.0).replace(path)
    monkeypatch.setattr(session, "open_inference", None)  # it isn't even opened
    black = np.zeros((32, 32, 3), np.uint8)
    assert estimator.predict(black).age == next(estimator.predict_many([black])).age == 1.0
