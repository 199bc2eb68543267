"""Faces in photos: what the detector's outputs mean, and that each face is found once, at any scale and any place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from agedetect_runtime.detection import ENOUGH_PIXELS, MAX_OVERLAP, Face, find_faces, one_each
from agedetect_runtime.errors import ModelError, ProviderError
from agedetect_runtime.finding import cut_faces
from agedetect_runtime.photo import Photo
from agedetect_runtime.spec import UTKFACE_TEMPLATE
from agedetect_runtime.yunet import Candidates, YuNet, decode
from tiny_detector import RED, draw, write_tiny_detector
from tiny_images import stored_jpeg
from tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> YuNet:
    return YuNet.open(write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny.onnx"))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> YuNet:
    """Takes 320 x 256 pixels and nothing else."""
    return YuNet.open(write_tiny_detector(tmp_path_factory.mktemp("detector") / "fixed.onnx", (256, 320)))


def found(photo: Image.Image | bytes, detector: YuNet) -> list[Face]:
    return find_faces(Photo.open(photo, ENOUGH_PIXELS), detector)


def boxes(faces: list[Face]) -> list[tuple[int, ...]]:
    return [tuple(round(length) for length in face.box) for face in faces]


# Decoding


def outputs(width: int, height: int) -> dict[str, NDArray[np.float32]]:
    """Of an image without any face."""
    columns = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
    cells = {stride: width // stride * (height // stride) for stride in (8, 16, 32)}
    return {
        f"{kind}_{stride}": np.zeros((1, count, wide), np.float32)
        for kind, wide in columns.items()
        for stride, count in cells.items()
    }


def test_outputs_are_decoded_as_by_hand() -> None:
    given = outputs(96, 64)
    cell = 1 * (96 // 16) + 4  # row 1, column 4 of the stride 16
    given["cls_16"][0, cell], given["obj_16"][0, cell] = 0.81, 0.49
    given["bbox_16"][0, cell] = (0.25, -0.5, np.log(3), np.log(4))
    given["kps_16"][0, cell] = (0, 0, 1, 0, 0.5, 0.5, 0, 1, -1, -1)
    candidates = decode(given, 96, 0.5)
    assert candidates.scores == pytest.approx([0.63])  # the root of 0.81 x 0.49
    # The centre is ((4 + 0.25) x 16, (1 - 0.5) x 16) = (68, 8), the size (3 x 16, 4 x 16).
    assert candidates.boxes == pytest.approx(np.array([[68 - 24, 8 - 32, 48, 64]]), abs=1e-4)  # float32
    assert candidates.landmarks[0].tolist() == [[64, 16], [80, 16], [72, 24], [64, 32], [48, 0]]


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_each_stride_has_its_grid(stride: int) -> None:
    given = outputs(128, 96)
    last = given[f"cls_{stride}"].shape[1] - 1
    given[f"cls_{stride}"][0, last] = given[f"obj_{stride}"][0, last] = 1
    (box,) = decode(given, 128, 0.5).boxes.tolist()
    assert box == [128 - 1.5 * stride, 96 - 1.5 * stride, stride, stride]


def test_scores_beyond_0_and_1_are_clipped_and_what_is_no_number_is_no_face() -> None:
    given = outputs(64, 64)
    given["cls_8"][0, :5, 0] = (2, 1, 1, 1, -1)
    given["obj_8"][0, :5, 0] = (1, 1, 1, 1, -1)
    given["bbox_8"][0, 1, 2] = 1000  # its exponential is infinite
    given["bbox_8"][0, 2, 0] = np.nan
    given["kps_8"][0, 3, 9] = np.inf
    assert decode(given, 64, 0.5).scores.tolist() == [1.0]


# Non-maximum suppression


def candidates(*rows: tuple[float, float, float, float, float]) -> Candidates:
    """Left, top, width, height, score."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Candidates(table[:, :4], np.zeros((len(rows), 5, 2), np.float32), table[:, 4])


def test_of_boxes_that_overlap_the_best_stays() -> None:
    # Shifted by 5 of 10, the intersection is a third of the union: above 0.3. By 6, a quarter: below.
    kept = one_each(candidates((0, 0, 10, 10, 0.7), (5, 0, 10, 10, 0.9), (11, 0, 10, 10, 0.8), (100, 0, 10, 10, 0.6)))
    assert kept.boxes[:, 0].tolist() == [5, 11, 100]
    assert len(one_each(candidates()).scores) == 0


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2, st.integers(1, 9)), max_size=15), st.data()
)
def test_what_stays_does_not_overlap_and_does_not_depend_on_the_order(
    rows: list[tuple[int, int, int, int, int]], data: st.DataObject
) -> None:
    def kept(order: list[tuple[int, int, int, int, int]]) -> list[list[float]]:
        boxes: list[list[float]] = one_each(candidates(*order)).boxes.tolist()
        return boxes

    distinct = list({row[:2] + row[4:]: row for row in rows}.values())
    once = kept(distinct)
    assert kept(data.draw(st.permutations(distinct))) == once
    for index, (left, top, width, height) in enumerate(once):
        for x, y, w, h in once[:index]:
            across, down = min(left + width, x + w) - max(left, x), min(top + height, y + h) - max(top, y)
            common = max(across, 0) * max(down, 0)
            assert common <= (MAX_OVERLAP + 1e-6) * (width * height + w * h - common)


# Scales, windows, borders


def test_a_face_is_found_where_it_is(detector: YuNet) -> None:
    (face,) = found(draw((320, 240), [(96, 64, 16)]), detector)
    assert face.box == pytest.approx((88, 56, 32, 32), abs=1e-3)
    assert face.score == pytest.approx(1, abs=1e-6)
    assert face.landmarks == pytest.approx(np.array(UTKFACE_TEMPLATE) * 32 + (88, 56), abs=1e-3)


def test_channels_are_not_swapped(detector: YuNet) -> None:
    blue = Image.fromarray(np.asarray(draw((320, 240), [(96, 64, 16)]))[..., ::-1])
    assert found(blue, detector) == []


def test_a_fixed_input_gives_the_same_faces_as_a_free_one(detector: YuNet, fixed: YuNet) -> None:
    """320 x 256 at a time, in windows that overlap: no face in two of them is counted twice."""
    squares = [(16 * column, 16 * row, 8) for column in range(1, 39, 2) for row in range(1, 29, 2)]
    photo = draw((640, 480), squares)
    assert len(squares) == 266
    expected = sorted((left - 4, top - 4, 16, 16) for left, top, _ in squares)
    assert sorted(boxes(found(photo, detector))) == expected
    assert sorted(boxes(found(photo, fixed))) == expected
    small = draw((100, 80), [(32, 16, 16)])  # smaller than the window
    assert boxes(found(small, fixed)) == boxes(found(small, detector)) == [(24, 8, 32, 32)]


def test_faces_at_the_border_are_found_and_their_boxes_reach_beyond_it(detector: YuNet, fixed: YuNet) -> None:
    photo = draw((640, 464), [(0, 0, 16), (624, 0, 16), (0, 448, 16), (624, 448, 16)])
    for yunet in (detector, fixed):
        assert boxes(found(photo, yunet)) == [
            (-8, -8, 32, 32),
            (616, -8, 32, 32),
            (-8, 440, 32, 32),
            (616, 440, 32, 32),
        ]


def test_a_large_face_and_a_small_one_in_one_photo(detector: YuNet) -> None:
    """The small one is there in all pixels, the large one in 320 for 1000."""
    photo = draw((1000, 750), [(100, 100, 100), (808, 408, 8)])
    assert boxes(found(photo, detector)) == [(50, 50, 200, 200), (804, 404, 16, 16)]


def test_a_face_that_both_searches_find_is_one(detector: YuNet) -> None:
    """25 pixels are 8 in the coarse search, and three fifths of a cell of 32 in the other."""
    (face,) = found(draw((1000, 750), [(100, 100, 25)]), detector)
    assert face.box == pytest.approx((87.5, 87.5, 50, 50), abs=0.1)


def test_a_photo_of_twelve_megapixels_is_searched_in_a_sixteenth_of_them(detector: YuNet) -> None:
    """A quarter of its side: 32 pixels are 8."""
    small = draw((4000, 3000), [(1536, 1024, 32)])
    assert boxes(found(small, detector)) == [(1520, 1008, 64, 64)]


def test_a_long_photo_is_searched_in_as_many_pixels_as_any_other(detector: YuNet) -> None:
    """By its longer side it would be 1000 x 100."""
    photo = draw((2400, 240), [(480, 64, 8)])  # fewer pixels than 1000 x 750
    assert boxes(found(photo, detector)) == [(476, 60, 16, 16)]


def test_faces_come_by_size_then_from_the_top_and_from_the_left(detector: YuNet) -> None:
    squares = [(320, 32, 8), (32, 352, 8), (32, 32, 8), (128, 128, 16), (256, 256, 32)]
    assert boxes(found(draw((480, 480), squares), detector)) == [
        (240, 240, 64, 64),
        (120, 120, 32, 32),
        (28, 28, 16, 16),
        (316, 28, 16, 16),
        (28, 348, 16, 16),
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_those_of_the_upright_photo(detector: YuNet, orientation: int) -> None:
    """Of a photo that is searched at half its size, too."""
    photo = stored_jpeg(draw((2400, 1800), [(307, 768, 77)], background="blue"), orientation)
    assert Photo.open(photo, ENOUGH_PIXELS).shrunk == 2
    (face,) = found(photo, detector)
    assert face.box == pytest.approx((268.8, 729.6, 153.6, 153.6), abs=0.1)  # the scale is 1 / 2.4: 32 x 2.4 pixels


# Chips


def test_chips_are_cut_from_enough_pixels(detector: YuNet) -> None:
    """A photo of 12 megapixels is searched at half its size; its fine stripes are still there in the chip."""
    photo = draw((4000, 3000), [(1024, 1024, 128)])
    pixels = np.array(photo)
    pixels[960:1024:2, 960:1216] = 255  # lines of one pixel above the square, in the face's box
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100, subsampling=0)
    assert Photo.open(file.getvalue(), ENOUGH_PIXELS).shrunk == 2
    (fine,) = cut_faces(file.getvalue(), detector, side=256).chips
    (coarse,) = cut_faces(file.getvalue(), detector, side=32).chips
    lines = fine[:60, 64:192, 0].astype(int)
    assert np.abs(np.diff(lines, axis=0)).mean() > 30  # of 255, halved by the interpolation
    assert np.abs(np.diff(coarse[:7, 8:24, 0].astype(int), axis=0)).mean() < 4


def test_the_largest_alone(detector: YuNet) -> None:
    photo = draw((480, 480), [(32, 32, 8), (128, 128, 16)])
    cut = cut_faces(photo, detector, side=32, largest=True)
    assert (boxes(cut.faces), cut.chips.shape) == ([(120, 120, 32, 32)], (1, 32, 32, 3))
    assert (cut.chips[0, 8:24, 8:24].mean(axis=(0, 1)) > (240, -1, -1)).all()
    none = cut_faces(draw((480, 480), []), detector, side=32)
    assert (none.faces, none.chips.shape) == ([], (0, 32, 32, 3))


# The file


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"without": "kps_16"}, "it has no output kps_16, float32"),
        ({"window": (100, 128)}, "its input of 128 x 100 pixels is not in whole strides of 32"),
    ],
)
def test_what_is_no_yunet_is_refused(tmp_path: Path, edit: dict[str, object], words: str) -> None:
    path = write_tiny_detector(tmp_path / "tiny.onnx", **edit)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=rf"^tiny\.onnx: no YuNet detector, since {words}.*; give a YuNet file with"):
        YuNet.open(path)


def test_an_age_model_and_a_text_are_no_detectors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^age\.onnx: no YuNet detector, since its input is not float32 \(1, 3, "):
        YuNet.open(write_tiny_model(tmp_path / "age.onnx"))
    with pytest.raises(ModelError, match=r"^model of 4 bytes: not an ONNX file, or truncated; give a YuNet file"):
        YuNet.open(b"text")
    with pytest.raises(ModelError, match=r"^none\.onnx: cannot be read: no such file or directory; give a YuNet file"):
        YuNet.open(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=rf"^{tmp_path.name}: is a folder; give a YuNet file"):
        YuNet.open(tmp_path)


def test_a_run_that_fails_is_said_in_one_line(tmp_path: Path) -> None:
    path = write_tiny_detector(tmp_path / "tiny.onnx", channel=5)  # there are three
    with pytest.raises(ProviderError, match=r"^ONNX Runtime failed on tiny\.onnx: [^\n]*$"):
        found(draw((64, 64), [(0, 0, 8)]), YuNet.open(path))


def test_a_photo_of_one_colour_or_one_pixel_has_no_faces(detector: YuNet, fixed: YuNet) -> None:
    for yunet in (detector, fixed):
        assert found(Image.new("RGB", (64, 64), RED), yunet) == []
        assert found(Image.new("RGB", (1, 1)), yunet) == []
        assert found(Image.new("RGB", (20_000, 1)), yunet) == []
