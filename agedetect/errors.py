"""Errors of training, tuning and serving. Each carries one line: the thing, its value, the remedy."""

from agedetect_runtime.errors import AgedetectError


class DataError(AgedetectError):
    """The faces, the archive or the manifest cannot be used as they are."""


class WeightsError(AgedetectError):
    """Pretrained weights are missing, damaged or do not fit the network."""


class ConfigError(AgedetectError):
    """A setting of a run is unknown, out of range or contradicts another."""


class RunError(AgedetectError):
    """A recorded run is missing, unfinished or cannot be continued."""
