"""Errors that are neither a wrong value (ValueError) nor a wrong type (TypeError)."""

__all__ = [
    "BasisChangedError",
    "ClaidError",
    "CudaUnavailableError",
    "DamagedRecordError",
    "IndexLockedError",
    "IndexMismatchError",
    "InvalidIndexError",
    "NotCalibratedError",
    "RuntimeUnavailableError",
    "StoreUnavailableError",
    "UnreadableImageError",
    "WeightsUnavailableError",
    "WorkerLostError",
]


class ClaidError(Exception):
    """Base of the errors that claid_ext itself defines."""


class CudaUnavailableError(ClaidError, ValueError, RuntimeError):
    """CUDA is asked for, by `device` or by where the features are, and cannot be used here."""


class UnreadableImageError(ClaidError, OSError):
    """An image file is missing, empty, truncated or in a format nobody here can decode."""


class WeightsUnavailableError(ClaidError, RuntimeError):
    """A network's weights are neither in a local file nor in a package nor at a hub in reach."""


class RuntimeUnavailableError(ClaidError, RuntimeError):
    """A runtime or precision of networks is asked for that this machine does not have."""


class NotCalibratedError(ClaidError, RuntimeError):
    """A network of int8 is to be run that has not been calibrated on photos yet."""


class InvalidIndexError(ClaidError, RuntimeError):
    """A folder is not an instance index, or one of a version or state that cannot be opened."""


class DamagedRecordError(ClaidError, ValueError):
    """Bytes that are no record, one cut short or changed, or of a version not known here."""


class IndexMismatchError(ClaidError, ValueError):
    """An index was built with other options (backbone, pooling, weights) than it is opened with."""


class BasisChangedError(IndexMismatchError):
    """The basis of an index was refitted after the query was prepared."""


class IndexLockedError(ClaidError, RuntimeError):
    """Another process is writing to the index."""


class StoreUnavailableError(ClaidError, OSError):
    """The server of a store does not answer, or refuses what it is asked."""


class WorkerLostError(ClaidError, RuntimeError):
    """Workers of an engine died again and again at the same work, or none of them finishes any."""
