"""Write docs/cli.md and docs/api.md from the commands and the docstrings: `python docs/generate.py`.

With --check nothing is written, and the exit code is 1 where the files are out of date.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).resolve().parent
REMEDY = "run: python docs/generate.py"

COMMANDS = {
    "agedetect": "agedetect.cli",
    "agedetect-export": "agedetect_export.cli",
    "agedetect-infer": "agedetect_runtime.cli",
}
# Packages whose `__all__` is documented, and the classes that their functions take and return.
PUBLIC = {
    "agedetect": {
        "agedetect.data.faces": ("FaceSet", "Face", "Skipped"),
        "agedetect.training.train": ("TrainedRun",),
        "agedetect.tracking.registry": ("Registered",),
        "agedetect.evaluation.predictor": ("Predictor",),
        "agedetect.evaluation.predictions": ("Predictions",),
        "agedetect.reports.report": ("EvaluationReport", "ComparisonReport"),
        "agedetect_export.report": ("ParityReport",),
    },
    "agedetect_runtime": {},
}

CLI_INTRODUCTION = """# Command-line reference

Generated from the commands by `python docs/generate.py`; `COMMAND --help` prints the same.

Every command exits with

| code | when |
|---|---|
| 0 | the job is done; images that failed have a row with the reason, and at least one has an age |
| 1 | the job failed, no image at all could be used, or `--strict` minds an image, file or copy; a line says why |
| 2 | the command was called wrongly: an unknown option, a value out of range, a missing argument |
| 3 | `agedetect promote`: the model was not promoted |
| 130 | the job was stopped with Ctrl-C |

The shell completes options and their values after one line in `~/.bashrc` (for zsh or fish, with its name for `bash`;
`_AGEDETECT_COMPLETE` and `_AGEDETECT_EXPORT_COMPLETE` are those of the other commands):

    eval "$(_AGEDETECT_INFER_COMPLETE=bash_source agedetect-infer)"
"""
API_INTRODUCTION = """# Python reference

Generated from signatures and docstrings by `python docs/generate.py`. What isn't listed may change without notice.
"""


def cli_reference() -> str:
    """docs/cli.md."""
    parts = [CLI_INTRODUCTION]
    for name, module in COMMANDS.items():
        parts += _command(name, import_module(module).main, None)
    return _joined(parts)


def _command(name: str, command: click.Command, parent: click.Context | None) -> Iterator[str]:
    """A command's section, then those of its sub-commands."""
    context = click.Context(command, parent, name, **command.context_settings)
    purpose, *rest = inspect.cleandoc(command.help or "").split("\n\n")
    yield from (f"## {context.command_path}", purpose)
    yield _code(" ".join([context.command_path, *command.collect_usage_pieces(context)]))
    for block in rest:  # click's mark \b stands before what is printed as it is: our examples
        yield from ("For example:", _code(block[2:])) if block.startswith("\b\n") else (block,)
    # without --help, which every command has, and which click names by the first context it was asked in
    options = [item for item in command.params if isinstance(item, click.Option) and not item.hidden]
    yield _table(("option", "value", "default", "description"), [_option(item, context) for item in options])
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found and not found.hidden:
                yield from _command(inner, found, context)


def _option(option: click.Option, context: click.Context) -> tuple[str, ...]:
    extra = option.get_help_extra(context)
    # a default that depends on the machine is part of the help text
    text, _, told = (option.help or "").rstrip("]").partition("  [default: ")
    default = told or ("*required*" if "required" in extra else f"`{extra['default']}`" if "default" in extra else "")
    value = "" if option.is_flag else option.make_metavar(context)
    if isinstance(option.type, click.Choice):
        value = ", ".join(f"`{choice}`" for choice in option.type.choices)
    elif "range" in extra:
        value = f"{value.removesuffix(' RANGE')}, {extra['range']}"
    return ", ".join(f"`{name}`" for name in option.opts), value, default, text


def api_reference() -> str:
    """docs/api.md."""
    parts = [API_INTRODUCTION]
    for package, homes in PUBLIC.items():
        module = import_module(package)
        parts += [f"## {package}", _docstring(module)]
        for name in sorted(module.__all__, key=lambda name: (inspect.isclass(getattr(module, name)), name)):
            parts += _public(name, getattr(module, name), package)
        if homes:
            parts.append("## What these functions take and return")
        for home, names in homes.items():
            for name in names:
                parts += _public(name, getattr(import_module(home), name), package)
    return _joined(parts)


def _public(name: str, thing: Any, package: str) -> Iterator[str]:
    yield f"### {name}"
    if not callable(thing):
        yield _code(_assignment(name, package), "python")
        return
    if not inspect.isclass(thing):
        yield from (_code(_signature(name, thing), "python"), _docstring(thing))
        return
    is_error = issubclass(thing, Exception)
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    has_help = bool(fields) and all("help" in item.metadata for item in fields)
    if not is_error and not has_help:
        yield _code(_signature(name, thing), "python")
    yield _docstring(thing)
    if is_error:
        yield f"Base class: `{thing.__mro__[1].__name__}`."
    if has_help:
        yield _table(("field", "type", "default", "description"), [_field(item) for item in fields])
    yield _docstring(vars(thing).get("__init__"))
    for member in vars(thing):
        if not member.startswith("_"):
            yield from _member(name, member, inspect.getattr_static(thing, member), getattr(thing, member))


def _assignment(name: str, package: str) -> str:
    """A type alias as its module writes it; its value doesn't know its name."""
    for path in sorted((Path(import_module(package).__file__ or "")).parent.rglob("*.py")):
        source = path.read_text("utf-8")
        for node in ast.parse(source).body:
            is_alias = isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call)  # a call makes a TypeVar
            if is_alias and (text := ast.get_source_segment(source, node) or "").startswith(f"{name} = "):
                return text
    raise LookupError(f"{package}: nothing assigns {name}")


def _member(owner: str, name: str, defined: Any, thing: Any) -> Iterator[str]:
    """A method or a property; `defined` is what the class body holds, `thing` what the class gives."""
    getter = defined.fget if isinstance(defined, property) else getattr(defined, "func", None)
    if getter is not None:
        declaration = f"{name}: {inspect.signature(getter).return_annotation}"
        yield from (f"#### {owner}.{name}", _code(declaration, "python"), _docstring(getter))
    elif inspect.isfunction(thing) or inspect.ismethod(thing):
        kind = "@classmethod\n" if isinstance(defined, classmethod) else ""
        yield from (f"#### {owner}.{name}", _code(kind + _signature(name, thing), "python"), _docstring(thing))


def _field(item: dataclasses.Field[Any]) -> tuple[str, ...]:
    limits = item.metadata
    allowed = [f"one of {', '.join(f'`{choice}`' for choice in limits['choices'])}"] if limits["choices"] else []
    allowed += [f"at least {limits['low']:g}"] if limits["low"] is not None else []
    allowed += [f"at most {limits['high']:g}"] if limits["high"] is not None else []
    end = f" {', '.join(allowed).capitalize()}." if allowed else ""
    return f"`{item.name}`", f"`{item.type}`", f"`{item.default!r}`", limits["help"] + end


class _Verbatim(str):
    """Shown as it is written: `inspect` puts quotes around annotations that are strings."""

    def __repr__(self) -> str:
        return str(self)


def _signature(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    shown = [_shown(item) for item in signature.parameters.values() if item.name != "self"]
    returns = signature.return_annotation
    end = "" if returns in (inspect.Signature.empty, None, "None") else f" -> {returns}"
    inner = str(inspect.Signature(shown))[1:-1].replace("'", '"')
    line = f"{name}({inner}){end}"
    if len(line) <= 100:
        return line
    parts = re.split(r", (?=\w+:|\*)", inner)
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"


def _shown(item: inspect.Parameter) -> inspect.Parameter:
    annotation = _Verbatim(item.annotation) if isinstance(item.annotation, str) else item.annotation
    has_text = item.default is item.empty or not (callable(item.default) or repr(item.default) == "<factory>")
    default = item.default if has_text else _Verbatim("...")
    return item.replace(annotation=annotation, default=default)


def _docstring(thing: Any) -> str:
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    is_made_up = inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")  # what dataclasses write
    return "" if is_made_up else text


def _code(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ("---",) * len(heads), *escaped))


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def main(arguments: list[str]) -> None:
    made = {FOLDER / "cli.md": cli_reference(), FOLDER / "api.md": api_reference()}
    if "--check" in arguments:
        stale = [path.name for path, text in made.items() if not path.is_file() or path.read_text("utf-8") != text]
        if stale:
            sys.exit(f"docs: {', '.join(stale)} out of date; {REMEDY}")
        return
    for path, text in made.items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
