"""What is measured on: models with random weights, and faces and photos, drawn once and kept in a folder."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from agedetect.models.model import build_model
from agedetect.synthetic.faces import draw_face, draw_faces
from agedetect_export.convert import convert
from agedetect_runtime import ModelSpec
from agedetect_runtime.listing import walk_images

UTKFACE = Path("UTKFace_data")
_DISTINCT_CHIPS = 1000  # as many files as it takes for no two batches to be alike; all of them fit the page cache
_DISTINCT_PHOTOS = 6
_PHOTO = (4000, 3000)


def chips(folder: Path, count: int) -> tuple[list[str], str]:
    """`count` paths of 200 px faces, some of them several times, and what they are."""
    if UTKFACE.is_dir() and (found := list(islice(walk_images(str(UTKFACE)), count))):
        return list(islice(cycle(found), count)), "UTKFace chips"
    distinct = min(count, _DISTINCT_CHIPS)
    place = folder / f"{distinct}_chips"
    drawn = sorted(place.glob("*.jpg"))
    if len(drawn) < distinct:
        drawn = draw_faces(place, distinct)
    return list(islice(cycle(map(str, drawn)), count)), "drawn faces, 200 px"


def photos(folder: Path, count: int) -> list[str]:
    """`count` paths of JPEG photos of 12 megapixels: a drawn face, and the noise of a sensor."""
    paths = [folder / "photos" / f"{number}.jpg" for number in range(min(count, _DISTINCT_PHOTOS))]
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        if not path.exists():
            _photo(number).save(path, quality=92)
    return list(islice(cycle(map(str, paths)), count))


def _photo(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    width, height = _PHOTO
    face = draw_face(10 + 12 * seed, seed % 2, seed % 5, rng, size=500).resize((height, height))
    image = Image.new("RGB", _PHOTO, (90, 120, 150))
    image.paste(face, ((width - height) // 2, 0))
    levels = np.asarray(image) + rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


class Network(torch.nn.Module):
    """faces, uint8 (B, S, S, 3) -> years, (B,): with random weights: speed doesn't depend on them."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = build_model(backbone, "none", head="regression")
        self.eval()

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.model.age(self.model(faces))


class _Brightness(torch.nn.Module):
    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return faces.float().mean((1, 2, 3)) * 0.25


def instant_model(folder: Path) -> Path:
    """A model of 32 px that takes no time, for what isn't about the model's."""
    path = folder / "brightness_32.onnx"
    spec = ModelSpec(image_size=32, resampling="bilinear", backbone="brightness", min_age=0, max_age=116)
    convert(_Brightness(), spec, path)
    return path


def onnx_model(folder: Path, backbone: str, image_size: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{backbone}_{image_size}.onnx"  # made anew each time: the exporter may have changed
    network = Network(backbone)
    resampling = network.model.resampling
    spec = ModelSpec(image_size=image_size, resampling=resampling, backbone=backbone, min_age=0, max_age=116)
    convert(network, spec, path)
    return path
