"""deploy/compose.yaml against the Compose Specification's schema, and against what docs/deploy.md says of it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from conftest import ROOT

COMPOSE = ROOT / "deploy" / "compose.yaml"
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)([^}]*)\}")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


@pytest.mark.external
def test_it_is_valid_by_the_specification_of_compose() -> None:
    if find_spec("check_jsonschema") is None:
        pytest.fail('check-jsonschema is missing: pip install -c constraints.txt -e ".[external]"')
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, COMPOSE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_every_image_is_of_one_version(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert re.fullmatch(r"[a-z./-]+:v?[0-9]+\.[0-9.]+(-[a-z]+)?", service["image"])


def test_every_server_has_a_health_check_and_what_it_needs_is_healthy_first(
    services: dict[str, dict[str, Any]],
) -> None:
    for service in services.values():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["restart"] == "unless-stopped"
        for needed in service.get("depends_on", {}).values():
            assert needed == {"condition": "service_healthy"}
    assert set(services["mlflow"]["depends_on"]) == set(services) - {"mlflow"}


def test_no_secret_has_a_default_and_only_mlflow_is_reached_from_outside(services: dict[str, dict[str, Any]]) -> None:
    used = dict(VARIABLE.findall(COMPOSE.read_text()))
    assert used.pop("LISTEN") == ":-127.0.0.1"
    assert all(rule.startswith(":?") for rule in used.values())
    for service in services.values():
        for name, value in service["environment"].items():
            assert VARIABLE.fullmatch(value) or not re.search("PASSWORD|SECRET|KEY", name)
    assert [name for name, service in services.items() if "ports" in service] == ["mlflow"]


def test_the_template_of_the_environment_names_every_variable_and_no_value() -> None:
    lines = (COMPOSE.parent / "env.template").read_text().splitlines()
    named = {line.split("=")[0]: line.split("=")[1] for line in lines if line and not line.startswith("#")}
    assert set(named) == set(dict(VARIABLE.findall(COMPOSE.read_text()))) - {"LISTEN"}
    assert set(named.values()) == {""}


def test_what_it_mounts_and_keeps_is_there(services: dict[str, dict[str, Any]]) -> None:
    named = set(yaml.safe_load(COMPOSE.read_text())["volumes"])
    used = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert named <= used
    assert all((COMPOSE.parent / path).is_file() for path in used - named)


def test_the_command_is_a_shell_script(services: dict[str, dict[str, Any]]) -> None:
    script = services["mlflow"]["command"][2].replace("$$", "$")
    subprocess.run(["sh", "-n", "-c", script], check=True, timeout=10)
    assert '--allowed-hosts "$ALLOWED_HOSTS"' in script
