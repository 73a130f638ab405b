"""What a server allows: who may ask, how much, and how long."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LEAST_TOKEN", "Settings"]

LEAST_TOKEN = 12  # characters: nobody guesses that many over a network


@dataclass(frozen=True)
class Settings:
    """Options of a server.

    Attributes
    ----------
    token : what every request must carry; None for none.
    hosts : names that a request's Host header may have beside those of this machine's loopback.
    any_address : whether that header may be any IP address, which no rebound name is.
    follow_links : whether photos are shown that are symbolic links out of their folder.
    searches : how many searches run at once; each has the index's vectors in memory.
    waiting : how many searches may wait for their turn; further ones are refused.
    pictures : how many photos are read and scaled at once.
    pictures_waiting : how many of these may wait.
    upload_bytes, upload_pixels : the largest picture that may be uploaded.
    uploads_bytes : of all pictures that are kept; the one not used for longest goes first.
    uploads_at_once : how many uploads may be received at a time.
    request_bytes : the largest body of any other request.
    pause_seconds : how long a client may send nothing in the middle of a request.
    request_seconds : how long it may take to send a whole one.
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    any_address: bool = False
    follow_links: bool = False
    searches: int = 2
    waiting: int = 64
    pictures: int = 2
    pictures_waiting: int = 256
    upload_bytes: int = 32 << 20
    upload_pixels: int = 50_000_000
    uploads_bytes: int = 256 << 20
    uploads_at_once: int = 4
    request_bytes: int = 64 << 10
    pause_seconds: float = 15.0
    request_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Check the token and the numbers of threads."""
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise ValueError(
                f"token must have at least {LEAST_TOKEN} characters, got {len(self.token)}"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise ValueError("token must be of printable ASCII characters")
        if self.searches < 1 or self.pictures < 1:
            raise ValueError(
                f"searches and pictures must be at least 1, got {self.searches}, {self.pictures}"
            )
