"""From a query's image and boxes to what both stages compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from claid_ext.describing import Descriptor, map_descriptor
from claid_ext.images import read_photo
from claid_ext.index.box_search import QueryTemplates
from claid_ext.record import check_vectors
from claid_ext.regions import Regions
from claid_ext.search.finding import Prepared
from claid_ext.search.query import Query, query_boxes

if TYPE_CHECKING:
    from claid_ext.descriptors.basis import Basis

__all__ = ["prepare"]


def prepare(query: Query, descriptor: Descriptor, basis: Basis | None) -> Prepared:
    """Describe the boxes of a query.

    Parameters
    ----------
    query : its image is decoded here.
    descriptor : of the index.
    basis : of the index, None for none.

    Raises
    ------
    UnreadableImageError : the query's image.
    ValueError : a box that is empty or outside the image.
    """
    photo = read_photo(query.image)
    boxes = query_boxes(query, photo.size)
    network = map_descriptor(descriptor)
    if network is None:
        (vectors,) = descriptor([photo], [Regions.of_boxes(photo.size, boxes)])
        dim = descriptor.manifest()["dim"]
        return Prepared(check_vectors("a query's vectors", vectors, len(boxes), dim), query.all_of)
    from claid_ext.search.templates import query_templates

    made = query_templates(network.network, photo.picture, boxes, basis)
    return Prepared(
        np.stack([its.vector for its in made]),
        query.all_of,
        tuple(
            QueryTemplates(its.parts, its.means, its.sides, its.cells, its.aspect, its.cell_side)
            for its in made
        ),
        None if basis is None else basis.fingerprint,
    )
