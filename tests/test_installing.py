"""What an error tells a user to type installs agedetect from where it was installed from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SAY = "from agedetect_runtime.installing import install_command; print(install_command('train'))"
GIT = {"url": "https://example.org/agedetect.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}}
WHEEL = {"url": "file:///downloads/agedetect-0.1.0-py3-none-any.whl", "archive_info": {}}


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (GIT, 'pip install "agedetect[train] @ git+https://example.org/agedetect.git@0a1b2c"'),
        (WHEEL, 'pip install "agedetect[train] @ file:///downloads/agedetect-0.1.0-py3-none-any.whl"'),
        ({"url": "file:///my%20code/agedetect", "dir_info": {}}, "pip install '/my code/agedetect[train]'"),
        (
            {"url": "file:///code/agedetect", "dir_info": {"editable": True}},
            "pip install --editable '/code/agedetect[train]'",
        ),
        (None, 'pip install "agedetect[train]"'),
    ],
)
def test_the_command_names_where_agedetect_came_from(tmp_path: Path, origin: object, command: str) -> None:
    """In a process that finds this distribution before the one that is installed."""
    folder = tmp_path / "agedetect-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: agedetect\nVersion: 0.1.0\n")
    if origin is not None:
        (folder / "direct_url.json").write_text(json.dumps(origin))
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {SAY}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{command}\n"
