"""Ports of loopback that nothing listens at."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below those that the kernel gives to outgoing connections, which could take one meanwhile.
LOWEST, HIGHEST = 15000, 30000


def free_ports(count: int) -> list[int]:
    """Different ports."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = random.randrange(LOWEST, HIGHEST)
            probe = held.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports
