"""`RegionTree`: the regions of one image, as found by `claid_ext.detect`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, SupportsInt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claid_ext._coco import encode_runs, mask_runs
from claid_ext.files import write_whole

__all__ = ["RegionTree"]

_FORMAT = "claid_ext.RegionTree"
_FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class RegionTree:
    """The tree of regions that the hierarchical decomposition (paper, III-A to III-D) found.

    A frozen value: all arrays are read-only, `==` compares every field bit for bit, and it can be
    copied and pickled. R regions are numbered in the order they were found, level by level, so
    that a parent always comes before its children. Patch p of the grid lies in row p // W and
    column p % W.

    Attributes
    ----------
    grid : (H, W), in patches.
    parent : int32 (R,), the region that this one was cut from, -1 for those cut from the image.
    level : int32 (R,), 1 for regions cut from the whole image, else the parent's plus 1.
    size : int32 (R,), in patches.
    connectivity : float64 (R,), share of the region's pairs that are linked (Eq. 8, 9).
    dominance : float64 (R,), share of its patches that are of high energy (Eq. 10).
    dummy : bool (R,), whether dominance is too low for it to show an instance (III-D).
    boxes : int32 (R, 4), [x0, y0, x1, y1) in patches, x1 and y1 exclusive.
    cuts : how many nodes were bisected, the whole image included.
    moves : how many times k-sums moved a patch, all nodes together.
    offsets : int64 (R + 1,), where each region's patches start in `members`.
    members : uint16 (sum of sizes,), the patches of region 0, of region 1, ..., each ascending.
    """

    grid: tuple[int, int]
    parent: NDArray[np.int32]
    level: NDArray[np.int32]
    size: NDArray[np.int32]
    connectivity: NDArray[np.float64]
    dominance: NDArray[np.float64]
    dummy: NDArray[np.bool_]
    boxes: NDArray[np.int32]
    cuts: int
    moves: int
    offsets: NDArray[np.int64]
    members: NDArray[np.uint16]

    def __post_init__(self) -> None:
        """Bring the arrays to their dtypes and make them read-only."""
        for name, dtype in _ARRAYS.items():
            # A view, so that the caller's own array stays writeable.
            view = np.asarray(getattr(self, name), dtype).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        """Return the number of regions, dummies included."""
        return len(self.parent)

    __hash__ = None  # type: ignore[assignment]  # arrays make it too costly to hash

    def __eq__(self, other: object) -> bool:
        """Whether every field is the same, bit for bit."""
        if not isinstance(other, RegionTree):
            return NotImplemented
        scalars = all(getattr(self, s) == getattr(other, s) for s in ("grid", "cuts", "moves"))
        return scalars and all(
            getattr(self, name).shape == getattr(other, name).shape
            and getattr(self, name).tobytes() == getattr(other, name).tobytes()
            for name in _ARRAYS
        )

    def __repr__(self) -> str:
        """Return the tree's sizes in one line."""
        return (
            f"RegionTree(grid={self.grid}, {len(self)} regions, {len(self.kept)} kept, "
            f"{int(self.level.max(initial=0))} levels, cuts={self.cuts}, moves={self.moves})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy through the constructor, which makes the arrays read-only again."""
        return RegionTree, tuple(getattr(self, f.name) for f in fields(self))

    @property
    def kept(self) -> NDArray[np.int64]:
        """The regions that are not dummies, int64 (K,), ascending: those that get descriptors."""
        return np.flatnonzero(~self.dummy).astype(np.int64, copy=False)

    def patches(self, i: SupportsInt) -> NDArray[np.uint16]:
        """Return the patch indices of region `i`, ascending, uint16 (size[i],); a read-only view.

        Raises IndexError for a region that is not there; negative numbers count from the end.
        """
        i = self._number(i)
        return self.members[self.offsets[i] : self.offsets[i + 1]]

    def children(self, i: SupportsInt) -> NDArray[np.int64]:
        """Return the regions cut from region `i`, int64, ascending; i = -1: those of the image.

        Raises IndexError for a region that is not there.
        """
        if int(i) != -1:
            i = self._number(i)
        return np.flatnonzero(self.parent == int(i)).astype(np.int64, copy=False)

    def masks(self, indices: Any = None, device: Any = None) -> Any:
        """Return regions as masks over the patch grid.

        Parameters
        ----------
        indices : which regions: None for all, one int, or what indexes an array of R (ints, bools,
            a slice; negative numbers count from the end).
        device : None for NumPy, or a torch device to build the masks on.

        Returns
        -------
        bool (n, H, W), or (H, W) for one int: a NumPy array, or a torch tensor on `device`.

        Raises
        ------
        IndexError : for regions that are not there.
        """
        chosen = np.arange(len(self))
        if indices is not None:
            chosen = chosen[indices]
        rows = np.atleast_1d(chosen)
        size = self.size[rows].astype(np.int64)
        total = int(size.sum())
        # From a patch's number among those chosen to its place in `members`.
        shift = self.offsets[rows] - (np.cumsum(size) - size)
        height, width = self.grid
        first_bit = np.arange(len(rows)) * (height * width)
        shape = (*chosen.shape, height, width)
        if device is None:
            stored = np.repeat(shift, size) + np.arange(total)
            masks = np.zeros(len(rows) * height * width, bool)
            masks[np.repeat(first_bit, size) + self.members[stored]] = True
            return masks.reshape(shape)
        import torch

        def there(array: NDArray[Any]) -> Any:
            return torch.from_numpy(array.copy()).to(device)

        # Only the mask store and a few numbers a region go up; torch knows uint16 in part only.
        members = there(self.members.view(np.int16)).long() & 0xFFFF
        sizes = there(size)
        spread = [
            torch.repeat_interleave(there(a), sizes, output_size=total) for a in (shift, first_bit)
        ]
        stored_there = spread[0] + torch.arange(total, device=device)
        tensor = torch.zeros(len(rows) * height * width, dtype=torch.bool, device=device)
        tensor[spread[1] + members[stored_there]] = True
        return tensor.reshape(shape)

    def pixel_boxes(self, image_size: Sequence[float]) -> NDArray[np.float64]:
        """Return the boxes in pixels, float64 (R, 4), [x0, y0, x1, y1), not rounded.

        `image_size` is (height, width) in pixels of what the grid covers; fractions are allowed.
        Raises ValueError unless both are positive and finite.
        """
        height, width = _extent("image_size", image_size)
        y, x = height / self.grid[0], width / self.grid[1]
        boxes: NDArray[np.float64] = self.boxes * np.array([x, y, x, y])
        return boxes

    def to_coco(
        self,
        image_size: Sequence[int],
        image_id: int = 0,
        category_id: int = 1,
        first_annotation_id: int = 1,
        kept_only: bool = True,
        *,
        covered: Sequence[float] | None = None,
    ) -> list[dict[str, Any]]:
        """Return COCO annotations, one a region, ready for json.dump.

        A pixel belongs to the patch that its centre lies in, so masks and boxes are whole pixels
        and agree with each other; they differ from `pixel_boxes` by at most half a pixel. A region
        so small in the image that it holds no pixel's centre has area 0.

        Parameters
        ----------
        image_size : (height, width) of the image in pixels, whole numbers.
        image_id, category_id, first_annotation_id : ids to put in; annotations count up.
        kept_only : whether to leave dummies out.
        covered : (height, width) in pixels, from the image's top left corner, of the part that the
            grid covers; None for all of it. The rest of the image is outside every region.

        Returns
        -------
        list of dict with id, image_id, category_id, bbox [x, y, width, height], area, iscrowd 0,
        segmentation (compressed RLE: {"size": [height, width], "counts": str}), and of this tree:
        region, level, parent, connectivity, dominance, dummy.

        Raises
        ------
        ValueError : image_size or covered not two positive numbers.
        """
        height, width = (int(n) for n in _extent("image_size", image_size))
        if (height, width) != tuple(image_size):
            raise ValueError(f"image_size must be two whole numbers of pixels, got {image_size!r}")
        extent = (height, width) if covered is None else _extent("covered", covered)
        rows = _pixel_edges(self.grid[0], extent[0], height)
        columns = _pixel_edges(self.grid[1], extent[1], width)
        regions = self.kept if kept_only else np.arange(len(self))
        annotations = []
        for number, i in enumerate(regions.tolist()):
            x0, y0, x1, y1 = self.boxes[i].tolist()
            left, top = int(columns[x0]), int(rows[y0])
            runs = mask_runs(self.masks(i), rows, columns, (height, width))
            annotations.append(
                {
                    "id": first_annotation_id + number,
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": [left, top, int(columns[x1]) - left, int(rows[y1]) - top],
                    "area": int(runs[1::2].sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": [height, width], "counts": encode_runs(runs)},
                    "region": i,
                    "level": int(self.level[i]),
                    "parent": int(self.parent[i]),
                    "connectivity": float(self.connectivity[i]),
                    "dominance": float(self.dominance[i]),
                    "dummy": bool(self.dummy[i]),
                }
            )
        return annotations

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tree to an npz file, whole or not at all: an older file there is replaced.

        Raises OSError where the file cannot be written.
        """
        path = Path(path)
        content: dict[str, ArrayLike] = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            **{f.name: getattr(self, f.name) for f in fields(self)},
        }

        def write(part: Path) -> None:
            with part.open("wb") as file:  # a name without .npz is kept as it is
                np.savez_compressed(file, **content)  # type: ignore[arg-type]

        write_whole(path, write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RegionTree:
        """Read a tree that `save` wrote.

        Raises FileNotFoundError where there is no file, and ValueError where it is no region tree,
        is damaged, or has a format version that this release does not know.
        """
        # Opened here, because np.load leaves its own file open when it fails.
        with Path(path).open("rb") as file:
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    content = dict(arrays)
            except Exception as error:  # whatever the parsing of a damaged file runs into
                raise ValueError(f"{path} is no readable npz file: {error}") from error
        if str(content.get("format")) != _FORMAT:
            raise ValueError(f"{path} is an npz file, but not one of a {_FORMAT}")
        if missing := [f.name for f in fields(cls) if f.name not in content]:
            raise ValueError(f"{path} is a damaged region tree: without {', '.join(missing)}")
        try:
            if (version := int(content["format_version"])) != _FORMAT_VERSION:
                raise ValueError(
                    f"{path} has format version {version}; this release reads {_FORMAT_VERSION}"
                )
            height, width = content["grid"].tolist()
            tree = cls(
                grid=(height, width),
                cuts=int(content["cuts"]),
                moves=int(content["moves"]),
                **{name: content[name] for name in _ARRAYS},
            )
            why = _disagreement(tree)
        except (KeyError, TypeError, IndexError, OverflowError) as error:
            why = f"{type(error).__name__}: {error}"
        if why:
            raise ValueError(f"{path} is a damaged region tree: {why}")
        return tree

    def _number(self, i: SupportsInt) -> int:
        number = int(i)
        if not -len(self) <= number < len(self):
            raise IndexError(f"region {number} of a tree of {len(self)}")
        return number % len(self)


_ARRAYS: dict[str, Any] = {
    "parent": np.int32,
    "level": np.int32,
    "size": np.int32,
    "connectivity": np.float64,
    "dominance": np.float64,
    "dummy": np.bool_,
    "boxes": np.int32,
    "offsets": np.int64,
    "members": np.uint16,
}


def _extent(name: str, size: Sequence[float]) -> tuple[float, float]:
    """Check a (height, width) in pixels."""
    if np.shape(size) != (2,) or not all(np.isfinite(n) and n > 0 for n in size):
        raise ValueError(f"{name} must be (height, width), two positive numbers, got {size!r}")
    return size[0], size[1]


def _pixel_edges(patches: int, extent: float, pixels: int) -> NDArray[np.int64]:
    """First pixel of each patch along one axis, and the end: int64 (patches + 1,).

    Pixel x, its centre at x + 1/2, is in patch c iff c <= (x + 1/2) patches / extent < c + 1.
    """
    edges = np.ceil(np.arange(patches + 1) * (extent / patches) - 0.5)
    whole: NDArray[np.int64] = np.clip(edges, 0, pixels).astype(np.int64)
    return whole


def _disagreement(tree: RegionTree) -> str | None:
    """Say what is wrong with a tree's fields, or None; for trees from files."""
    count = len(tree.parent)
    for name in ("level", "size", "connectivity", "dominance", "dummy"):
        if getattr(tree, name).shape != (count,):
            return f"{name} has shape {getattr(tree, name).shape} where parent has {(count,)}"
    if tree.boxes.shape != (count, 4):
        return f"boxes has shape {tree.boxes.shape}, not {(count, 4)}"
    ends = np.concatenate([[0], np.cumsum(tree.size, dtype=np.int64)])
    if not np.array_equal(tree.offsets, ends) or tree.members.shape != (ends[-1],):
        return "offsets, size and members disagree"
    if (tree.parent < -1).any() or (tree.parent >= np.arange(count)).any():
        return "a parent does not come before its child"
    height, width = tree.grid
    if tree.members.size and int(tree.members.max()) >= height * width:
        return f"a patch lies outside the grid {tree.grid}"
    return None
