"""Small pictures for a page, read once more from the files of its rows: a JPEG of a few kilobytes each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from agedetect_runtime.detection import ENOUGH_PIXELS
from agedetect_runtime.finding import NO_FACE
from agedetect_runtime.images import load_face
from agedetect_runtime.memory import decoding
from agedetect_runtime.photo import Photo
from agedetect_runtime.pipeline import stream
from agedetect_runtime.sources import Source

if TYPE_CHECKING:
    from agedetect_runtime.rows import FaceRow

SIDE = 72  # pixels
_MOST_BYTES = 3_000  # what noise would exceed: with a thousand rows a page stays under 5 MB


class _Order(NamedTuple):
    """A picture and the boxes of its faces; None stands for the square in its middle, which the model was given."""

    source: Source
    boxes: list[tuple[float, float, float, float] | None]


def thumbnails(rows: Sequence[FaceRow], *, threads: int, image_seconds: float) -> list[bytes | None]:
    """A JPEG for each row, of at most SIDE pixels on a side; None where its file couldn't be read, or no longer can."""
    orders: dict[str, _Order] = {}
    for row in rows:
        source = row.result.source
        if row.result.error in (None, NO_FACE):  # others would fail, or take too long, once more
            orders.setdefault(str(source), _Order(source, [])).boxes.append(None if row.face is None else row.face.box)
    made = stream(
        iter(orders.values()),
        _pictures,
        lambda _, loaded: loaded,
        threads=threads,
        batch_size=threads,
        image_seconds=image_seconds,
    )
    pictures: dict[str, Iterator[bytes]] = {
        name: iter(() if isinstance(item, str) else item) for name, item in zip(orders, made, strict=True)
    }
    return [next(pictures.get(str(row.result.source), iter(())), None) for row in rows]


@decoding()
def _pictures(order: _Order) -> list[bytes]:
    if None in order.boxes:
        return [_jpeg(Image.fromarray(load_face(order.source, SIDE, "bilinear")))] * len(order.boxes)
    photo = Photo.open(order.source, enough=ENOUGH_PIXELS)  # as many as the detector was given
    return [_jpeg(_cut(photo, *box)) for box in order.boxes if box is not None]


def _cut(photo: Photo, x: float, y: float, width: float, height: float) -> Image.Image:
    """The box as far as it lies in the photo, at least a pixel."""
    left, top = (min(max(0.0, low), high - 1.0) for low, high in zip((x, y), photo.size, strict=True))
    right, bottom = max(left + 1, min(photo.size[0], x + width)), max(top + 1, min(photo.size[1], y + height))
    scale = SIDE / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    return photo.region((left, top, right, bottom), size)


def _jpeg(picture: Image.Image) -> bytes:
    for quality in (75, 50, 25):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= _MOST_BYTES:
            break
    return file.getvalue()
