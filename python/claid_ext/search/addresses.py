"""Opening what can be searched by its address: a folder, or a server and a data set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claid_ext.search.instance_index import InstanceIndex
from claid_ext.search.recipes import Networks, Running
from claid_ext.search.searcher import Searcher

if TYPE_CHECKING:
    import torch

    from claid_ext.describing import Descriptor
    from claid_ext.regions import RegionSource

__all__ = ["MILVUS", "milvus_uri", "open_index"]

MILVUS = "milvus:"


def milvus_uri(address: str | os.PathLike[str]) -> str | None:
    """Return the server's URI of an address milvus:URI, None of any other address."""
    given = os.fspath(address)
    return given.removeprefix(MILVUS) if given.startswith(MILVUS) else None


def open_index(
    address: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    descriptor: Descriptor | None = None,
    regions: RegionSource | None = None,
    device: str | torch.device | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    allow_runtime: bool = False,
) -> Searcher:
    """Open what can be searched, whichever store holds it.

    Parameters
    ----------
    address : the folder of an index; or milvus:URI, as milvus:http://127.0.0.1:19530, the server
        that `claid load` has brought the records of a data set to.
    dataset : that data set, a path or a URI; of a folder, None.
    descriptor, regions : those the records were made with; None to make them again, when they are
        first needed, from what the manifest says.
    device : where to make them.
    runtime, precision, allow_runtime : as `InstanceIndex.open`.

    Raises
    ------
    InvalidIndexError : the folder is no index, or the server does not have the data set.
    IndexMismatchError : another descriptor or regions than the records were made with.
    StoreUnavailableError : the server does not answer.
    ValueError : a server without a data set, or a folder with one.
    """
    uri = milvus_uri(address)
    if uri is None:
        if dataset is not None:
            raise ValueError(f"dataset is for an address {MILVUS}URI, got the folder {address}")
        return InstanceIndex.open(
            address,
            descriptor=descriptor,
            regions=regions,
            device=device,
            runtime=runtime,
            precision=precision,
            allow_runtime=allow_runtime,
        )
    if dataset is None:
        raise ValueError(f"{address} has vectors alone: dataset must say where their records are")
    from claid_ext.scale.dataset import DataSet
    from claid_ext.scale.stores.milvus import MilvusStore

    opened = DataSet(os.fspath(dataset))
    networks = Networks(
        opened.files.shown(),
        opened.manifest,
        source=regions,
        descriptor=descriptor,
        running=Running(
            device=device, runtime=runtime, precision=precision, allow_runtime=allow_runtime
        ),
    )
    return Searcher(f"{MILVUS}{uri}", MilvusStore(uri, opened), opened.manifest, networks)
