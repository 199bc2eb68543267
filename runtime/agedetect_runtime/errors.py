"""The errors that a user can fix. Each message is one line: the thing, the value, the remedy."""


class AgedetectError(Exception):
    """Base of every error that agedetect raises on purpose; anything else is a bug."""


class ModelError(AgedetectError):
    """The model file can't be used: not ours, damaged, or of a schema this version doesn't know."""


class ImageError(AgedetectError):
    """One image can't be used; the message is the reason, without the image's name."""


class ProviderError(AgedetectError):
    """ONNX Runtime is missing, installed twice, or lacks the device that was asked for."""
