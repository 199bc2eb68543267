"""docs/cli.md and docs/api.md say what the commands and the docstrings say, and cover all of both."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

import agedetect
import agedetect_runtime
from agedetect.cli import main as agedetect_command
from conftest import ROOT

CLI, API = ((ROOT / "docs" / name).read_text("utf-8") for name in ("cli.md", "api.md"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_pages_are_what_the_code_gives(generate: ModuleType) -> None:
    generate.main(["--check"])  # exits where they differ


@pytest.mark.parametrize("page", ["cli.md", "api.md"])
def test_a_stale_page_is_named_with_the_remedy(
    generate: ModuleType, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    generate.main([])
    stale = (tmp_path / page).read_text().replace("0.0005", "0.001")  # an old default
    (tmp_path / page).write_text(stale)
    with pytest.raises(SystemExit, match=f"^docs: {page} out of date; run: python docs/generate.py$"):
        generate.main(["--check"])
    assert (tmp_path / page).read_text() == stale


def test_every_command_has_its_section() -> None:
    assert isinstance(agedetect_command, click.Group)
    inner = {f"agedetect {name}" for name in agedetect_command.commands}
    wanted = {"agedetect", "agedetect-export", "agedetect-infer", *inner}
    assert set(re.findall(r"^## (.+)$", CLI, re.MULTILINE)) == wanted


def test_former_option_names_are_not_advertised() -> None:
    assert "--finetune-learning-rate" in CLI
    assert not re.search(r"--(side|flip-average|full-learning-rate)", CLI)


def test_every_public_name_has_its_section() -> None:
    sections = re.findall(r"^### (.+)$", API, re.MULTILINE)
    assert {*agedetect.__all__, *agedetect_runtime.__all__} <= set(sections)
    assert len(sections) == len(set(sections))


def test_the_pages_hold_nothing_of_one_machine_or_process() -> None:
    for text in (CLI, API):
        assert str(ROOT) not in text
        assert not re.search(r" at 0x[0-9a-f]+", text)  # what an object without a repr of its own shows
