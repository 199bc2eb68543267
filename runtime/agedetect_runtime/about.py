"""What a model file says about itself, for people: its model card, or its spec as a list where it has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from agedetect_runtime.spec import ModelSpec
from agedetect_runtime.table import level_text, printable, printable_lines
from agedetect_runtime.terminal import one_line_errors, print_any_text


def print_about(context: click.Context, _: click.Parameter, model: Path | None) -> None:
    """The callback of an eager click option: print what the model file says about itself and exit."""
    if model is None or context.resilient_parsing:
        return
    with one_line_errors():
        from agedetect_runtime.session import open_session

        spec = open_session(model, device="cpu", threads=1).spec
    print_any_text()
    print(describe(spec))  # click.echo would write UTF-8 to a terminal that says it is ASCII
    context.exit()


def describe(spec: ModelSpec) -> str:
    """Several lines, control characters escaped: the card, Markdown as it is, where the model has one."""
    if spec.card.strip():
        return printable_lines(spec.card.strip("\n"))
    facts = [
        ("backbone", spec.backbone),
        ("image size", f"{spec.image_size} x {spec.image_size}, resized {spec.resampling}"),
        ("head", f"{spec.head}, ages {spec.min_age:g} to {spec.max_age:g}"),
        ("intervals", "none" if spec.coverage is None else f"{level_text(spec.coverage)} nominal coverage"),
        ("precision", spec.precision),
        *_figures(spec),
    ]
    width = max(len(name) for name, _ in facts)
    return "\n".join(printable(f"{name:<{width}}  {value}") for name, value in facts)


def _figures(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """The provenance. A nested object is flattened, as in `test.mae`; anything deeper stays JSON."""
    for name, value in spec.provenance.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", _text(figure)) for inner, figure in value.items())
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
