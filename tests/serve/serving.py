"""A small index with light networks, the application on it, and a real server in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from claid_ext import InstanceIndex, RegionDescriptor
from claid_ext.regions import BoxRegions
from claid_ext.serve.app import create_app
from claid_ext.serve.server import listen, server_of
from claid_ext.serve.settings import Settings
from PIL import Image

THING = (40, 30, 110, 80)  # the striped thing in each picture
PHOTOS = 6


def made_picture(seed: int, box: tuple[int, int, int, int] = THING) -> Image.Image:
    """Dark noise, 160 x 120, and a bright striped thing in `box`."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (120, 160, 3))
    x0, y0, x1, y1 = box
    stripes = (np.arange(x0, x1) // 4 % 2 * 80 + 120)[None, :, None]
    pixels[y0:y1, x0:x1] = stripes + rng.integers(0, 55, 3)
    return Image.fromarray(pixels.astype(np.uint8))


def light_descriptor() -> RegionDescriptor:
    """A descriptor of two stages: random features of squares of 8 and 16 pixels."""
    import torch

    class Squares(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fine = torch.nn.Conv2d(3, 40, 8, stride=8)
            self.coarse = torch.nn.Conv2d(40, 48, 2, stride=2)

        def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:
            fine = self.fine(batch).relu()
            return [fine, self.coarse(fine).relu()]

    return RegionDescriptor(Squares().eval())


@dataclass(frozen=True)
class Place:
    """An index that a test may change: its folder, and that of its photos."""

    index: Path
    photos: Path
    descriptor: RegionDescriptor

    def open(self) -> InstanceIndex:
        return InstanceIndex.open(
            self.index, descriptor=self.descriptor, regions=BoxRegions("grid")
        )

    def add(self, *names: str) -> None:
        with self.open() as index:
            assert index.add([self.photos / name for name in names]).failed == []


@dataclass(frozen=True)
class Served:
    """A server that runs: its address, a client of it, and its index."""

    url: str
    client: httpx.Client
    place: Place

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def json(self, path: str, **params: Any) -> Any:
        response = self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def search(self, **asked: Any) -> httpx.Response:
        return self.client.post("/api/search", json=asked)

    def upload(self, content: bytes, kind: str = "image/png") -> httpx.Response:
        return self.client.post("/api/uploads", content=content, headers={"content-type": kind})

    def ids(self) -> dict[str, int]:
        """The ids of all photos by their names."""
        return {one["name"]: one["id"] for one in self.json("/api/photos", limit=200)["photos"]}


@contextmanager
def running(place: Place, settings: Settings, host: str = "127.0.0.1") -> Iterator[Served]:
    """Serve in a thread of this process, at a free port."""
    opened, settings = listen(host, 0, settings)
    server = server_of(create_app(place.open, settings))
    thread = threading.Thread(target=server.run, args=([opened],))
    url = f"http://127.0.0.1:{opened.getsockname()[1]}"
    with opened, httpx.Client(base_url=url, timeout=120) as client:
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield Served(url, client, place)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def made_place(folder: Path, descriptor: RegionDescriptor) -> Place:
    """An index of six photos in two folders: a/0.png ... a/3.png, b/4.png, b/5.png."""
    photos = folder / "photos"
    names = [f"{'a' if seed < 4 else 'b'}/{seed}.png" for seed in range(PHOTOS)]
    for seed, name in enumerate(names):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        made_picture(seed, (40 + 4 * seed, 30, 110, 80)).save(photos / name)
    source = BoxRegions("grid")
    InstanceIndex.create(folder / "things", descriptor=descriptor, regions=source).close()
    made = Place(folder / "things", photos, descriptor)
    made.add(*names)
    return made
