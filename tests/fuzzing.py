"""Changes to valid files at random, and what opening them may do: give a result or our one error, soon.

A case is made from its seed and its number alone, so that it is the same whatever ran before it. tests/test_fuzz.py
runs a few hundred. More of them, others for each seed, and one of them again:

    python tests/fuzzing.py images --examples 100000 --seed 1
    python tests/fuzzing.py models --examples 20000 --seed 1
    python tests/fuzzing.py models --seed 1 --only 1234
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from agedetect_runtime.errors import ImageError, ModelError, ProviderError
from agedetect_runtime.images import open_rgb
from agedetect_runtime.session import open_session
from malformed.formats import jpeg_files, other_files, png_files, tiff_files
from malformed.pictures import write_quarters_model
from tiny_models import write_tiny_model

MAX_PIXELS = 100_000  # keeps an example short; the limit itself is a case of the corpus

SLOW_SECONDS = 5.0  # for one file, which takes milliseconds: more is a hang

KINDS = ("flip", "set", "insert", "delete", "cut", "repeat", "number")
EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)  # where sizes and signs overflow

Opener = Callable[[bytes], str]
Change = tuple[str, float, int, bytes]  # kind, where as a share of the file, a number, new bytes


def some_changes(rng: np.random.Generator) -> list[Change]:
    """One to four changes, anywhere in the file; half of the numbers are extreme."""
    return [
        (
            KINDS[rng.integers(len(KINDS))],
            rng.random(),
            EXTREMES[rng.integers(len(EXTREMES))] if rng.random() < 0.5 else int(rng.integers(2**32)),
            rng.bytes(int(rng.integers(9))),
        )
        for _ in range(rng.integers(1, 5))
    ]


def case(files: Sequence[bytes], seed: int, number: int) -> bytes:
    """The changed file of this seed and number."""
    rng = np.random.default_rng((seed, number))
    data = files[int(rng.integers(len(files)))]
    return changed(data, some_changes(rng))


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
                data = data[:at] + number.to_bytes(4, "little" if number % 2 else "big") + data[at + 4 :]
    return data


def images() -> list[bytes]:
    """The corpus's good images, one of each encoding."""
    families = (png_files, jpeg_files, tiff_files, other_files)
    return [data for family in families for data, outcome in family().values() if not outcome.reasons]


def model_files(folder: Path) -> list[bytes]:
    """Good models: one whose bytes are mostly graph and spec, one with intervals, one that is mostly weights."""
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


def fuzz(what: str, files: Sequence[bytes], open_one: Opener, numbers: Iterable[int], *, seed: int) -> Counter[str]:
    """Try the cases of these numbers; how often each outcome came. Whatever is raised names its case."""
    outcomes: Counter[str] = Counter()
    for number in numbers:
        start = time.perf_counter()
        try:
            outcomes[open_one(case(files, seed, number))] += 1
            assert time.perf_counter() - start < SLOW_SECONDS, "too slow"
        except BaseException as error:  # a timeout and Ctrl-C, too: they tell where it hangs
            error.add_note(f"the same case again: python tests/fuzzing.py {what} --seed {seed} --only {number}")
            raise
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["images", "models"])
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one case")
    options = parser.parse_args()
    numbers = range(options.examples) if options.only is None else [options.only]
    warnings.simplefilter("ignore")  # Pillow's, about odd files
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "images":
            outcomes = fuzz("images", images(), open_image, numbers, seed=options.seed)
        else:
            open_one = partial(open_model, Path(folder) / "changed.onnx")
            outcomes = fuzz("models", model_files(Path(folder)), open_one, numbers, seed=options.seed)
    print(f"{outcomes.total()} {options.what} in {time.perf_counter() - start:.0f} s, seed {options.seed}")
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")


if __name__ == "__main__":
    main()
