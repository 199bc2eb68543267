"""Changes to valid files at random, and what opening them may do: give a result or our one error, soon.

tests/test_fuzz.py runs a few hundred, the same ones each time. More of them, others for each seed:

    python tests/fuzzing.py images --examples 100000 --seed 1
    python tests/fuzzing.py models --examples 20000 --seed 1
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import strategies as st

from agedetect_runtime.errors import ImageError, ModelError, ProviderError
from agedetect_runtime.images import open_rgb
from agedetect_runtime.session import open_session
from hostile.formats import jpeg_files, other_files, png_files, tiff_files
from hostile.pictures import write_quarters_model
from tiny_models import write_tiny_model

MAX_PIXELS = 100_000  # keeps an example short; the limit itself is a case of the corpus

Change = tuple[str, float, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "insert", "delete", "cut", "repeat", "number"]),
        # Where, as a share of the file. From bytes, which Hypothesis draws evenly: it prefers simple numbers, such
        # as 0, and few changes would come past a file's first bytes.
        st.binary(min_size=3, max_size=3).map(lambda drawn: int.from_bytes(drawn, "big") / 2**24),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[Change]) -> bytes:
    """Apply the changes one after the other."""
    for kind, share, number, new in changes:
        at = int(share * len(data))
        length = number % 64
        match kind:
            case "flip":
                data = data[:at] + bytes(byte ^ 1 << number % 8 for byte in data[at : at + 1]) + data[at + 1 :]
            case "set":
                data = data[:at] + new + data[at + len(new) :]
            case "insert":
                data = data[:at] + new + data[at:]
            case "delete":
                data = data[:at] + data[at + length :]
            case "cut":
                data = data[:at]
            case "repeat":
                data = data[:at] + data[at : at + length] * 3 + data[at + length :]
            case "number":  # lengths, sizes and counts are four bytes in most formats
                order = "little" if number % 2 else "big"
                data = data[:at] + number.to_bytes(4, order) + data[at + 4 :]
    return data


def images() -> list[bytes]:
    """The corpus's good images, one of each encoding."""
    families = (png_files, jpeg_files, tiff_files, other_files)
    return [data for family in families for data, outcome in family().values() if not outcome.reasons]


def model_files(folder: Path) -> list[bytes]:
    plain = write_tiny_model(folder / "plain.onnx", image_size=16)
    intervals = write_tiny_model(folder / "intervals.onnx", image_size=16, coverage=0.9, black_is_nan=True)
    mostly_weights = write_quarters_model(folder / "quarters.onnx", 16)
    return [plain.read_bytes(), intervals.read_bytes(), mostly_weights.read_bytes()]


def open_image(data: bytes) -> str:
    """What comes of it; anything but an RGB image within the limit or an ImageError is raised."""
    try:
        image = open_rgb(data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        reason = str(error)
        assert "\n" not in reason
        assert len(reason) < 200
        return reason.partition(":")[0]
    assert image.mode == "RGB"
    assert 0 < image.width * image.height <= MAX_PIXELS
    np.asarray(image)
    return "an image"


def open_model(path: Path, data: bytes) -> str:
    """What comes of it; anything but a model that runs, a ModelError or, in its run, a ProviderError is raised."""
    path.write_bytes(data)
    try:
        session = open_session(path, device="cpu", threads=1)
    except ModelError as error:
        reason = str(error)
        assert "\n" not in reason
        assert len(reason) < 500
        return "refused unopened" if isinstance(error.__cause__, ModelError) else "refused when opened"
    size = session.spec.image_size
    try:
        session.run(np.zeros((1, size, size, 3), np.uint8))
    except ProviderError:
        return "opened, failed in its run"
    return "opened and ran"


def fuzz(files: list[bytes], try_one: Callable[[bytes], str], *, examples: int, seed: int | None) -> Counter[str]:
    """Try so many changed files; how often each came out. Without a seed it is the same files each time."""
    outcomes: Counter[str] = Counter()

    @hypothesis.settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        deadline=5000,  # milliseconds: a hang is a failure
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.sampled_from(files), CHANGES)
    def run(data: bytes, changes: list[Change]) -> None:
        outcomes[try_one(changed(data, changes))] += 1

    (run if seed is None else hypothesis.seed(seed)(run))()
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["images", "models"])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, about odd files
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if asked.what == "images":
            outcomes = fuzz(images(), open_image, examples=asked.examples, seed=asked.seed)
        else:
            path, files = Path(folder) / "changed.onnx", model_files(Path(folder))
            outcomes = fuzz(files, lambda data: open_model(path, data), examples=asked.examples, seed=asked.seed)
    print(f"{outcomes.total()} {asked.what} in {time.perf_counter() - start:.0f} s, seed {asked.seed}")
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")


if __name__ == "__main__":
    sys.exit(main())
