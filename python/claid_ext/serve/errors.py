"""What an answer may say instead of a result, each with its HTTP status."""

from __future__ import annotations

from claid_ext.errors import ClaidError

__all__ = [
    "BusyError",
    "ForbiddenError",
    "GoneError",
    "NotFoundError",
    "RequestError",
    "StoppedError",
    "TooLargeError",
    "TooSlowError",
    "UnusableError",
]


class RequestError(ClaidError):
    """A request that is answered by an error; `status` is HTTP's."""

    status = 400


class ForbiddenError(RequestError):
    """Something that is there and is not shown."""

    status = 403


class NotFoundError(RequestError):
    """Nothing of this name."""

    status = 404


class TooSlowError(RequestError):
    """A request that did not arrive in time."""

    status = 408


class GoneError(RequestError):
    """A photo that the index knows and that cannot be read any more."""

    status = 410


class TooLargeError(RequestError):
    """A body of too many bytes."""

    status = 413


class UnusableError(RequestError):
    """A request that is understood, and asks for what cannot be."""

    status = 422


class BusyError(RequestError):
    """As much as is allowed is waiting already."""

    status = 503

    def __init__(self) -> None:
        """Say so."""
        super().__init__("too many requests are waiting: try again in a few seconds")


class StoppedError(RequestError):
    """The client has gone: nobody sees this."""

    status = 499
