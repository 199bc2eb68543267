"""What to type for one of our extras: pip gets it from where agedetect came from, which needn't be an index."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from typing import Any
from urllib.parse import unquote, urlsplit


def install_command(extra: str) -> str:
    """`pip install "agedetect[EXTRA] @ git+URL"`, or what a checkout, a wheel or an index needs instead.

    pip notes the origin as direct_url.json (PEP 610).
    """
    origin = _origin()
    url = str(origin.get("url", ""))
    if not url:
        return f'pip install "agedetect[{extra}]"'
    if url.startswith("file:") and "dir_info" in origin:
        editable = "--editable " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}{shlex.quote(f'{unquote(urlsplit(url).path)}[{extra}]')}"
    version = origin.get("vcs_info", {})
    address = f"{version['vcs']}+{url}@{version['commit_id']}" if version else url
    return f'pip install "agedetect[{extra}] @ {address}"'


def _origin() -> dict[str, Any]:
    """Empty for what came from an index, or wasn't installed by pip."""
    try:
        text = metadata.distribution("agedetect").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, Any] = json.loads(text) if text else {}
    return found
