"""How a user names a model that MLflow knows, parsed without importing MLflow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agedetect_runtime.listing import is_folder

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")
_LOGGED = re.compile(r"runs:/[^/]+/.+|models:/m-[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A parsed address: `name` with `alias` or `version`, `folder`, or just `uri` for a run's."""

    uri: str
    name: str | None = None
    alias: str | None = None
    version: str | None = None
    folder: Path | None = None

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Raises ValueError, saying what an address looks like."""
        if match := _REGISTERED.fullmatch(uri):
            return cls(uri=uri, name=match["name"], alias=match["alias"], version=match["version"])
        if _LOGGED.fullmatch(uri):
            return cls(uri=uri)
        if is_folder(uri):
            return cls(uri=uri, folder=Path(uri))
        raise ValueError(
            f"{uri!r} is no model address; give models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/model "
            "or an MLflow model folder that exists"
        )
