"""The corpus: every kind of file that an inference may meet, with the age or the reason that its row must have.

`python -m malformed`, in the folder tests, prints the table of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from malformed.damage import big_files, damaged_files, mistaken_files
from malformed.formats import jpeg_files, other_files, png_files, tiff_files
from malformed.notes import orientation_files, profile_files, text_files, xmp_files
from malformed.outcomes import Files, Kind, a_file
from malformed.places import names, places

FAMILIES: dict[str, Callable[[], Files]] = {
    "PNG": png_files,
    "JPEG": jpeg_files,
    "TIFF": tiff_files,
    "WebP, GIF, BMP and others": other_files,
    "EXIF": orientation_files,
    "XMP": xmp_files,
    "texts of a PNG": text_files,
    "colour profiles": profile_files,
    "truncated or modified": damaged_files,
    "content that differs from the suffix": mistaken_files,
    "bombs and extremes": big_files,
}


def kinds() -> Iterator[Kind]:
    """All of them, named once each in their family."""
    for family, members in FAMILIES.items():
        for name, (data, outcome) in members().items():
            yield Kind(family, name, outcome, a_file(data), name[name.rindex(".") :])
    yield from places()
    yield from names()


def table() -> str:
    """The corpus as Markdown: for each family its kinds, how many give an age, and the reasons of the others."""
    families: dict[str, list[Kind]] = {}
    for kind in kinds():
        families.setdefault(kind.family, []).append(kind)
    lines = ["| kind | files | an age | a reason | either |", "|---|---|---|---|---|"]
    totals = [0, 0, 0, 0]
    for family, members in families.items():
        ages = sum(kind.outcome.age is not None and not kind.outcome.reasons for kind in members)
        either = sum(kind.outcome.age is not None and bool(kind.outcome.reasons) for kind in members)
        row = [len(members), ages, len(members) - ages - either, either]
        totals = [total + count for total, count in zip(totals, row, strict=True)]
        lines.append(f"| {family} | {' | '.join(map(str, row))} |")
    lines.append(f"| **all** | {' | '.join(map(str, totals))} |")
    return "\n".join(lines)
