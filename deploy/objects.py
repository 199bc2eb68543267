"""The bucket of a shared server's artifacts: made, saved to a folder, and restored from one.

It is reached as MLflow reaches it: by MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import boto3

BUCKET = "mlflow"


def connect() -> Any:
    return boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"], region_name="us-east-1")


def create(client: Any) -> None:
    """The bucket, where there is none."""
    if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=BUCKET)


def save(client: Any, folder: Path) -> int:
    """Every object as a file of the same time, which a later call keeps where it is unchanged; returns how many."""
    count = 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", ()):
            path, changed = folder / item["Key"], item["LastModified"].timestamp()
            count += 1
            if path.is_file() and (path.stat().st_size, path.stat().st_mtime) == (item["Size"], changed):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, item["Key"], str(path))
            os.utime(path, (changed, changed))
    return count


def restore(client: Any, folder: Path) -> int:
    """Every file as an object; returns how many."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in paths:
        client.upload_file(str(path), BUCKET, path.relative_to(folder).as_posix())
    return len(paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("create", "save", "restore"))
    parser.add_argument("folder", nargs="?", type=Path, help="of save and restore")
    arguments = parser.parse_args()
    if arguments.action != "create" and arguments.folder is None:
        parser.error(f"{arguments.action} needs a folder")
    if "MLFLOW_S3_ENDPOINT_URL" not in os.environ:
        parser.error("set MLFLOW_S3_ENDPOINT_URL to the object store's address")
    client = connect()
    create(client)
    if arguments.action != "create":
        count = {"save": save, "restore": restore}[arguments.action](client, arguments.folder)
        print(f"{count} objects: {arguments.action}d")


if __name__ == "__main__":
    main()
