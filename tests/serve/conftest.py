"""Fixtures of a server on a small index; what they need is imported where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from claid_ext import RegionDescriptor
    from serving import Place, Served


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    for module in ("torch", "faiss", "timm", "fastapi", "uvicorn", "httpx"):
        pytest.importorskip(module)


@pytest.fixture(scope="session")
def descriptor(_installed: None) -> RegionDescriptor:
    from serving import light_descriptor

    return light_descriptor()


@pytest.fixture
def place(tmp_path: Path, descriptor: RegionDescriptor) -> Place:
    """An index of six photos in two folders, for this test alone."""
    from serving import made_place

    return made_place(tmp_path, descriptor)


@pytest.fixture
def serve(place: Place) -> Iterator[Callable[..., Served]]:
    """Serve that index with given settings."""
    from claid_ext.serve.settings import Settings
    from serving import running

    with ExitStack() as stack:

        def start(**options: Any) -> Served:
            return stack.enter_context(running(place, Settings(**options)))

        yield start


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, descriptor: RegionDescriptor
) -> Iterator[Served]:
    """A server on another such index, for all tests that change nothing."""
    from claid_ext.serve.settings import Settings
    from serving import made_place, running

    place = made_place(tmp_path_factory.mktemp("shared"), descriptor)
    with running(place, Settings()) as shared:
        yield shared
