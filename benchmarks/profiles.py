"""What a colour profile moves and costs: faces stored in Display P3, as phones do, read with and without their profile.

python -m benchmarks.profiles FACES --model model.onnx --profile FILE_WITH_IT
"""

from __future__ import annotations

import argparse
import io
import random
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from agedetect_runtime import AgeEstimator
from agedetect_runtime.images import load_face, open_rgb
from agedetect_runtime.listing import walk_images
from agedetect_runtime.sources import Source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--profile", type=Path, required=True, help="an image with the profile to store the faces in")
    parser.add_argument("--count", type=int, default=500)
    options = parser.parse_args()
    paths = sorted(walk_images(options.faces))
    with_profile = sum("icc_profile" in Image.open(path).info for path in paths)
    print(f"{with_profile} of {len(paths)} files carry a profile")
    with Image.open(options.profile) as image:
        profile: bytes = image.info["icc_profile"]
    cost(profile)
    report(random.Random(0).sample(paths, min(options.count, len(paths))), options.model, profile)


def report(paths: list[str], model: Path, profile: bytes) -> None:
    wide = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    to_wide = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), wide, "RGB", "RGB")
    ages: dict[str, list[float]] = {"as it is": [], "its profile ignored": [], "its profile converted": []}
    estimator = AgeEstimator(model, device="cpu")
    for path in paths:
        face = open_rgb(path)
        stored = ImageCms.applyTransform(face, to_wide)
        assert stored is not None
        versions: tuple[Source, ...] = (face, np.asarray(stored), _png(stored, profile))
        for found, version in zip(ages.values(), versions, strict=True):
            found.append(estimator.predict(version).age)
    plain, *others = (np.array(found) for found in ages.values())
    for name, other in zip(list(ages)[1:], others, strict=True):
        moved = other - plain
        print(
            f"{name}: {np.abs(moved).mean():.2f} years on average ({moved.mean():+.2f}), "
            f"95% within {np.quantile(np.abs(moved), 0.95):.2f}, at most {np.abs(moved).max():.2f}, n {len(moved)}"
        )


def cost(profile: bytes) -> None:
    """Milliseconds of a core for a face of 160 px from a JPEG without a profile, with sRGB's, and with this one."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    few = Image.fromarray(np.random.default_rng(0).integers(0, 256, (25, 25, 3), dtype=np.uint8))
    for side, runs in ((200, 200), (3500, 5)):
        photo = few.resize((side, side), Image.Resampling.BICUBIC)
        best: dict[str, float] = {}
        versions = {"none": _jpeg(photo), "sRGB": _jpeg(photo, srgb), "this": _jpeg(photo, profile)}
        for name, data in [*versions.items()] * 5:
            start = time.process_time()
            for _ in range(runs):
                load_face(data, 160, "bilinear")
            best[name] = min(best.get(name, 1e9), (time.process_time() - start) / runs * 1000)
        print(f"{side} px:", ", ".join(f"profile {name} {milliseconds:.2f} ms" for name, milliseconds in best.items()))


def _jpeg(image: Image.Image, profile: bytes | None = None) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, icc_profile=profile)
    return file.getvalue()


def _png(image: Image.Image, profile: bytes) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=profile)
    return file.getvalue()


if __name__ == "__main__":
    main()
