"""The memory that opening an image takes at its peak, in a process like `agedetect-infer`: bytes a pixel, by format.

python tests/memory_peak.py
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from pillow_heif import from_pillow

_JOB = """
from agedetect_runtime.blocks import return_freed_images
return_freed_images()
import re, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import load_face

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

def load(path):
    try:
        load_face(path, 160, "bilinear")
        return "read"
    except ImageError as error:
        return str(error)

load_face(np.zeros((9, 9, 3), np.uint8), 8, "bilinear")
before = peak()
with ThreadPoolExecutor(int(sys.argv[1])) as threads:
    for outcome in threads.map(load, sys.argv[2:]):
        print(outcome)
print(peak() - before)
"""


def peak_bytes(paths: Sequence[Path], threads: int = 1) -> tuple[int, list[str]]:
    """What opening them as faces takes above what the process had, and what became of each: "read", or the reason."""
    call = [sys.executable, "-c", _JOB, str(threads), *map(str, paths)]
    *outcomes, peak = subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()
    return int(peak), outcomes


def plain(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    """An image of one colour: few bytes, whatever its size."""
    image = Image.new(
        mode, size, {"RGB": (9, 99, 199), "RGBA": (9, 99, 199, 200), "CMYK": (9, 99, 199, 20)}.get(mode, 1)
    )
    file = io.BytesIO()
    if kind == "HEIF":
        from_pillow(image).save(file, **options)
    else:
        image.save(file, kind, **options)
    return file.getvalue()


FILES: dict[str, tuple[str, str, dict[str, object]]] = {
    "JPEG": ("JPEG", "CMYK", {}),
    "JPEG, progressive": ("JPEG", "CMYK", {"progressive": True, "subsampling": 0}),
    "PNG, RGB": ("PNG", "RGB", {}),
    "PNG, RGBA": ("PNG", "RGBA", {}),
    "GIF": ("GIF", "P", {}),
    "TIFF, float": ("TIFF", "F", {"compression": "tiff_adobe_deflate"}),
    "TIFF, RGBA": ("TIFF", "RGBA", {"compression": "tiff_lzw"}),
    "TGA": ("TGA", "RGBA", {}),
    "WebP": ("WEBP", "RGBA", {"lossless": True, "exact": True, "method": 0}),
    "AVIF": ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
    "HEIC": ("HEIF", "RGBA", {"quality": 50, "chroma": 444}),
    "JPEG 2000": ("JPEG2000", "RGBA", {}),
}


def main() -> None:
    side = 4000
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, mode, options) in FILES.items():
            path = Path(folder) / "image"
            path.write_bytes(plain(kind, (side, side), mode, **options))
            peak, _ = peak_bytes([path])
            print(f"{name:18} {peak / side**2:5.1f} bytes a pixel")


if __name__ == "__main__":
    main()
