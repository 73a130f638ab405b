"""Starts the Milvus server of PyPI's package `milvus` in a folder, on loopback, and waits for it.

    python milvus_server.py FOLDER

prints "PID PORT" once it answers; the server ends when this script's stdin does.
"""

from __future__ import annotations

import contextlib
import socket
import sys

from milvus import MilvusServer, MilvusServerConfig


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(folder: str) -> None:
    """Start it, say where it is, and stop it at the end of stdin."""
    config = MilvusServerConfig(data_dir=folder)
    ports = {name: free_port() for name in config.configurable_items if name.endswith("_port")}
    server = MilvusServer(config, **ports)
    server.webservice_port = free_port()
    # A read at consistency "Strong" waits for the next tick, 200 ms by default.
    config.set("proxy.timeTickInterval", 20)
    config.set("queryCoord.checkInterval", 100)  # 1 s by default, of which loading waits for some
    config.set("queryCoord.distPullInterval", 50)
    server.start()
    print(server.server_proc.pid, ports["proxy_port"], flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(sys.argv[1])
