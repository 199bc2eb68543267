"""Training and evaluation of age estimators on face images, tracked in MLflow."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("agedetect")
except PackageNotFoundError:  # run from a checkout that isn't installed, as `mlflow run` does
    __version__ = "0+checkout"
