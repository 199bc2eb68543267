"""Users and rights of a shared MLflow server, set by its administrator.

The server is MLFLOW_TRACKING_URI, the administrator MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client

RIGHTS = ("READ", "USE", "EDIT", "MANAGE", "DENY")


def add(names: Sequence[str], password: str | None) -> None:
    client = get_app_client("basic-auth", os.environ["MLFLOW_TRACKING_URI"])
    for name in names:
        client.create_user(name, password or getpass.getpass(f"first password of {name}: "))


def grant(name: str, right: str, experiment: str | None, model: str | None) -> None:
    """The right on an experiment, a registered model or both, instead of the one that the user had."""
    client = get_app_client("basic-auth", os.environ["MLFLOW_TRACKING_URI"])
    things = {"registered_model": model}
    if experiment is not None:
        found = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).get_experiment_by_name(experiment)
        if found is None:
            sys.exit(f"{experiment}: no such experiment; the first training in it makes it")
        things["experiment"] = found.experiment_id
    for kind, thing in things.items():
        if thing is not None:
            with suppress(MlflowException):  # there may be none
                client.revoke_user_permission(name, kind, thing)
            client.grant_user_permission(name, kind, thing, right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    new = actions.add_parser("add", help="users; their first password is asked for, or taken from NEW_PASSWORD")
    new.add_argument("names", nargs="+", metavar="NAME")
    right = actions.add_parser("grant", help="a right on an experiment and a registered model")
    right.add_argument("name")
    right.add_argument("right", choices=RIGHTS)
    right.add_argument("--experiment", help="by name")
    right.add_argument("--model", help="by name")
    arguments = parser.parse_args()
    if "MLFLOW_TRACKING_URI" not in os.environ:
        parser.error("set MLFLOW_TRACKING_URI to the server's address")
    try:
        if arguments.action == "add":
            add(arguments.names, os.environ.get("NEW_PASSWORD"))
        else:
            grant(arguments.name, arguments.right, arguments.experiment, arguments.model)
    except MlflowException as error:
        sys.exit(re.sub(r"(\w+://)[^/@\s]+@", r"\1", str(error)))  # without a password in the address


if __name__ == "__main__":
    main()
