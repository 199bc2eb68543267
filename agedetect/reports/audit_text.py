"""The audit as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agedetect.data.audit import Audit, Duplicates
from agedetect.data.placement import OFF, Placement
from agedetect.reports.format import age_text
from agedetect_runtime.table import printable

_BAR = 40
_LISTED = 5


def format_audit(result: Audit) -> str:
    """Counts, the histogram by decade, groups, the first few of each kind of doubtful file, and where the faces lie."""
    lines = [*_counts(result), *_histogram(result), *_groups(result), *_doubtful(result)]
    return "\n".join([*lines, "", *map(printable, placement_lines(result.placement))])


def placement_lines(found: Placement | None) -> list[str]:
    """Where the faces lie, and what to do where that is not where a model expects them."""
    if found is None:
        return [
            "Not checked whether the faces are cut as the models expect: no face detector was given, and none with the "
            "expected SHA-256 is in the cache. Give one with --detector, or let `agedetect crop` download ours."
        ]
    if found.median is None or found.lower is None or found.upper is None:
        return [
            f"No face was found in {found.pictures:,} sampled pictures ({found.detector}): are they drawings, or cut "
            "too tightly? Look at them before training."
        ]
    lines = [
        f"Landmarks lie {found.median:.1%} of the side from the template (median of {found.found:,} faces; half of "
        f"them {found.lower:.1%} to {found.upper:.1%}); no face was found in {found.pictures - found.found:,} of "
        f"{found.pictures:,} sampled pictures ({found.detector})."
    ]
    if found.is_off:
        lines.append(
            f"The faces are not cut as the models expect (more than {OFF:.0%} off): crop them again with "
            "`agedetect crop`, or evaluate with --find-faces; as they are, their ages come out worse."
        )
    return lines


def _counts(result: Audit) -> list[str]:
    skipped = len(result.malformed) + len(result.unreadable)
    return [
        printable(result.source),
        f"{result.faces:,} faces in {result.files:,} files, {skipped:,} skipped",
        *map(printable, result.notes),
        f"ages {age_text(result.youngest)} to {age_text(result.oldest)}, "
        f"mean {age_text(result.mean_age)}, median {age_text(result.median_age)}",
    ]


def _histogram(result: Audit) -> list[str]:
    most = max(result.decades.values())
    lines = [
        f"  {decade:>7} {count:>7,} {'#' * round(_BAR * count / most)}".rstrip()
        for decade, count in result.decades.items()
    ]
    return ["", "ages by decade", *lines]


def _groups(result: Audit) -> list[str]:
    return ["", f"gender: {_shares(result.genders)}", f"race: {_shares(result.races)}"]


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in counts.items())


def _doubtful(result: Audit) -> list[str]:
    odd = (f"{item.path}: {item.width}x{item.height}, {item.why}" for item in result.odd_sizes)
    duplicates = f"{len(result.duplicates):,} groups of pixel-identical images, {_files(result.duplicates):,} files"
    conflicts = f"{len(result.conflicts):,} of them with different ages, {_files(result.conflicts):,} files"
    return [
        "",
        *_listed("names or rows without a label", (f"{n}: {why}" for n, why in result.malformed)),
        *_listed("unreadable files", (f"{name}: {why}" for name, why in result.unreadable)),
        *_listed("faces without gender or race", result.no_group),
        *_listed("images of unusual size", odd),
        f"{duplicates}; {conflicts}",
        *_some(f"{', '.join(map(age_text, group.ages))} years: {', '.join(group.paths)}" for group in result.conflicts),
    ]


def _files(groups: Iterable[Duplicates]) -> int:
    return sum(len(group.paths) for group in groups)


def _listed(what: str, items: Iterable[str]) -> list[str]:
    lines = list(items)
    return [f"{len(lines):,} {what}", *_some(lines)]


def _some(items: Iterable[str]) -> list[str]:
    lines = list(items)
    shown = [f"  {printable(line)}" for line in lines[:_LISTED]]
    return shown if len(shown) == len(lines) else [*shown, f"  and {len(lines) - len(shown):,} more"]
