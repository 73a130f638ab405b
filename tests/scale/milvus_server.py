"""Starts the Milvus server of PyPI's package `milvus` in a folder, on loopback, and waits for it.

    python milvus_server.py FOLDER PORT

prints its process's number once it answers; the server ends when this script's stdin does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

from milvus import MilvusServer, MilvusServerConfig
from ports import free_ports


class Config(MilvusServerConfig):
    """One that takes a port again at once after the server that had it was killed."""

    def try_bind_port(self, port: int) -> socket.socket | None:
        """A socket at the port, None if something listens there."""
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.close()
            return None
        return probe


def settle_etcd(folder: Path) -> None:
    """Give the server's etcd ports of its own: by itself it takes 2379 and 2380, or hangs."""
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    config = folder / "etcd.yaml"
    lines = {
        "name": "default",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    config.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    os.environ["ETCD_CONFIG_PATH"] = str(config)


def main(folder: str, port: int) -> None:
    """Start it, say which process it is, and stop it at the end of stdin."""
    settle_etcd(Path(folder))
    config = Config(data_dir=folder)
    names = [name for name in config.configurable_items if name.endswith("_port")]
    webservice, *ports = free_ports(1 + len(names))
    server = MilvusServer(config, **{**dict(zip(names, ports, strict=True)), "proxy_port": port})
    server.webservice_port = webservice
    # A read at consistency "Strong" waits for the next tick, 200 ms by default.
    config.set("proxy.timeTickInterval", 20)
    config.set("queryCoord.checkInterval", 100)  # 1 s by default, of which loading waits for some
    config.set("queryCoord.distPullInterval", 50)
    # A killed server's sessions end by themselves, 30 s later by default; then it starts again.
    # With a few seconds a server on busy processors loses its own, and ends.
    config.set("common.session.ttl", 20)
    server.start()
    print(server.server_proc.pid, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
