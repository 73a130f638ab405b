"""Draw the pictures of how-it-works.md and gallery.md, from the real algorithm on real photos.

    python docs/draw.py          needs '.[all]'; writes docs/images/how-*.jpg and gallery-*.jpg

The photos are scikit-image's: public domain or CC0. Every step of how-*.jpg is computed by
`claid_ext.reference`; the tree at the end must be the one that `Detector` finds.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from claid_ext import Detector
from claid_ext.cli.demo import demo_photos
from claid_ext.files import write_whole
from claid_ext.images import load_image
from claid_ext.plot import PALETTE, draw_detection
from claid_ext.reference import decomposition as steps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

IMAGES = Path(__file__).parent / "images"
PHOTO = "astronaut.png"
GALLERY = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
GALLERY_WIDTH = 900  # pixels
DOTS, PANEL = 110, 3.3  # per inch; inches
QUALITY = 84  # of the JPEGs
CLUSTERS = ((255, 75, 66), (38, 166, 255))
OPAQUE = 0.6


class Scene:
    """The photo as the backbone sees it, its patch features, and means to draw over it."""

    def __init__(self, path: Path) -> None:
        """Read a photo and compute its features, as `Detector` does."""
        self.detector = Detector("focus_vits14", runtime="torch")
        backbone = self.detector.backbone
        image = load_image(path)
        pixels, _ = backbone.preprocess(image)
        self.grid = tuple(side // backbone.patch_size for side in pixels.shape[1:])
        (self.features,) = (x.cpu().numpy() for x in backbone.features(pixels[None]))
        (self.detection,) = self.detector(path)
        height, width = (round(side) for side in self.detection.covered)
        self.photo = np.asarray(image.crop((0, 0, width, height)), np.float32) / 255

    def over(self, colours: NDArray[Any], opaque: NDArray[Any]) -> NDArray[Any]:
        """Lay a colour on each patch, (N, 3) in 0 to 1, as opaque as (N,) says."""
        height, width = self.photo.shape[:2]
        rows = np.arange(height) * self.grid[0] // height
        columns = np.arange(width) * self.grid[1] // width
        patch = rows[:, None] * self.grid[1] + columns
        share = opaque[patch][..., None]
        return self.photo * (1 - share) + colours[patch] * share

    def clusters(self, S: NDArray[Any], cluster: NDArray[Any]) -> NDArray[Any]:
        """The patches of a node by their clusters; what is not in it is dimmed."""
        colours = np.zeros((len(self.features), 3))
        opaque = np.full(len(self.features), OPAQUE)
        colours[S] = np.array(CLUSTERS)[1 - cluster] / 255
        return self.over(colours, opaque)

    def regions(self, members: list[NDArray[Any]], numbers: list[int]) -> NDArray[Any]:
        """Regions in the palette's colours; the rest is dimmed."""
        colours = np.zeros((len(self.features), 3))
        for region, number in zip(members, numbers, strict=True):
            colours[region] = PALETTE[number % len(PALETTE)] / 255
        return self.over(colours, np.full(len(self.features), OPAQUE))

    def place(self, patch: int) -> tuple[float, float]:
        """The middle of a patch, x and y in pixels."""
        row, column = divmod(patch, self.grid[1])
        height, width = self.photo.shape[:2]
        return (column + 0.5) * width / self.grid[1], (row + 0.5) * height / self.grid[0]


def save(name: str, panels: list[tuple[str, NDArray[Any], list[Any]]]) -> None:
    """Write pictures side by side under their titles, with marks: (patch's place, colour)."""
    height, width = panels[0][1].shape[:2]
    figure = Figure((PANEL * len(panels), PANEL * height / width + 0.35), layout="constrained")
    for axes, (title, picture, marks) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        axes.imshow(np.clip(picture, 0, 1))
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
        for mark, colour in marks:
            if isinstance(mark, Rectangle):
                axes.add_patch(mark)
            else:
                axes.plot(*mark, "o", ms=10, mfc=colour, mec="white", mew=2)
    file = io.BytesIO()
    figure.savefig(file, dpi=DOTS, format="jpeg", pil_kwargs={"quality": QUALITY})
    write_whole(IMAGES / name, lambda part: part.write_bytes(file.getvalue()))
    print(IMAGES / name)


def draw_steps(scene: Scene) -> None:
    """One picture per step of the first cut, then those after it, and the tree."""
    options = scene.detector.detect_options
    X, grid = scene.features, scene.grid
    height, width = scene.photo.shape[:2]
    lines = scene.photo.copy()
    lines[(np.arange(grid[0]) * height // grid[0]), :] = 1
    lines[:, (np.arange(grid[1]) * width // grid[1])] = 1
    centred = X - X.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:3]
    three = centred @ axes.T
    low, high = np.quantile(three, (0.02, 0.98), axis=0)
    three = np.clip((three - low) / (high - low), 0, 1)
    kinds = scene.over(three, np.full(len(X), 0.9))
    save(
        "how-1-features.jpg",
        [(f"{grid[0]} x {grid[1]} patches", lines, []), ("their features", kinds, [])],
    )

    q = steps.q15_rows(X).astype(np.float64)
    A = steps.affinity(q, options["tau"])
    everything = np.arange(len(X))
    plus, minus = steps.seeds(q, A, everything)
    degree = A.sum(axis=1)
    warmth = (degree - degree.min()) / (degree.max() - degree.min())
    heat = np.stack([warmth, 0.8 * warmth, 0.5 * (1 - warmth)], axis=1)
    linked = np.where(A[plus][:, None], (1.0, 0.8, 0.1), 0.0)
    marks = [(scene.place(plus), "#ff4b42"), (scene.place(minus), "#26a6ff")]
    save(
        "how-2-links.jpg",
        [
            ("links per patch; the seeds", scene.over(heat, np.full(len(X), 0.75)), marks),
            ("what s+ is linked to", scene.over(linked, np.full(len(X), OPAQUE)), marks[:1]),
        ],
    )

    start = steps.seed_start(q, A, everything)
    once, first_moves = steps.k_sums(q, everything, start, max_passes=1)
    final, moves = steps.k_sums(q, everything, start)
    save(
        "how-3-cut.jpg",
        [
            ("nearer to s+ or to s-", scene.clusters(everything, start), marks),
            (f"one sweep: {first_moves} moves", scene.clusters(everything, once), []),
            (f"the end: {moves} moves", scene.clusters(everything, final), []),
        ],
    )
    draw_regions(scene, q, A, final)


def draw_regions(
    scene: Scene, q: NDArray[Any], A: NDArray[Any], cluster: NDArray[np.int64]
) -> None:
    """From the first cut on: its regions, the next level's, and what is kept."""
    options, X, grid = scene.detector.detect_options, scene.features, scene.grid
    everything = np.arange(len(X))
    tree = scene.detection.tree
    least = options["min_patches"]
    parts = [p for c in (1, 0) for p in steps.components(everything[cluster == c], grid)]
    large = [p for p in parts if len(p) >= least]
    of_level = [np.flatnonzero(tree.level == level) for level in range(tree.level.max() + 1)]
    assert [tree.patches(i).tolist() for i in of_level[1]] == [p.tolist() for p in large]
    title = f"{len(large)} regions; {len(parts) - len(large)} too small"
    scored = []
    wholly = options.get("connectivity", 0.97)
    for level in (1, 2):
        numbers = of_level[level].tolist()
        open_ones = [i for i in numbers if tree.connectivity[i] < wholly]
        members = [tree.patches(i) for i in numbers]
        name = title if level == 1 else f"level 2: {len(numbers)}, {len(open_ones)} to be cut"
        scored.append((name, scene.regions(members, numbers), []))
    largest = max(of_level[1].tolist(), key=lambda i: tree.size[i])
    S = tree.patches(largest).astype(np.int64)
    again, _ = steps.k_sums(q, S, steps.seed_start(q, A, S))
    scored.insert(1, ("the largest is cut again", scene.clusters(S, again), []))
    save("how-4-regions.jpg", scored)

    energies = steps.energy(X)
    top = steps.high_energy(energies, options.get("energy_top", 0.3))
    bright = np.where(top[:, None], (1.0, 0.8, 0.1), 0.0)
    kept = set(tree.kept.tolist())
    panels = [("high energy", scene.over(bright, np.full(len(X), OPAQUE)), [])]
    for name, chosen, colour in (
        (f"{len(kept)} kept", sorted(kept), "#40c057"),
        (f"{len(tree) - len(kept)} dummies", sorted(set(range(len(tree))) - kept), "#adb5bd"),
    ):
        boxes = scene.detection.boxes[chosen]
        frames = [
            (Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, lw=1.6, ec=colour), None)
            for x0, y0, x1, y1 in boxes
        ]
        panels.append((name, 0.7 * scene.photo, frames))
    save("how-5-kept.jpg", panels)


def draw_gallery(scene: Scene, photos: dict[str, Path]) -> None:
    """What `claid detect --draw` makes of photos."""
    for name in GALLERY:
        (detection,) = scene.detector(photos[name])
        picture = draw_detection(load_image(photos[name]), detection)
        size = (GALLERY_WIDTH, round(picture.height * GALLERY_WIDTH / picture.width))
        file = io.BytesIO()
        small = picture.resize(size, Image.Resampling.LANCZOS)
        small.save(file, "JPEG", quality=QUALITY)
        drawn = IMAGES / f"gallery-{Path(name).stem}.jpg"
        write_whole(drawn, lambda part, file=file: part.write_bytes(file.getvalue()))
        print(drawn)


if __name__ == "__main__":
    photos = {photo.name: photo for photo in demo_photos()}
    scene = Scene(photos[PHOTO])
    draw_steps(scene)
    draw_gallery(scene, photos)
