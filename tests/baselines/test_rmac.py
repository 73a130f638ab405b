"""R-MAC step by step: its squares, the order of whitening and sums, queries cut out."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")

from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.descriptors.rmac import RegionMac, RMac, rmac_boxes  # noqa: E402
from claid_ext.regions import Regions  # noqa: E402
from claid_ext.vectors import unit  # noqa: E402
from PIL import Image  # noqa: E402

CHANNELS = 6
CELL = 32


@pytest.fixture(scope="module")
def network() -> ConvNetwork:
    """Cells of 32 pixels, each by itself."""
    torch.manual_seed(0)
    return ConvNetwork(
        torch.nn.Conv2d(3, CHANNELS, CELL, stride=CELL), name="squares", layers=("only",)
    )


def noise(seed: int, width: int = 320, height: int = 224) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3))
    return Image.fromarray(pixels.astype(np.uint8)).resize((width, height), Image.Resampling.BOX)


def cells_of(network: ConvNetwork, picture: Image.Image) -> np.ndarray:
    """The map of a picture of whole cells, (C, h, w)."""
    pixels, _ = network.to_input(picture)
    with torch.no_grad():
        return network.module(pixels[None])[0].numpy()


def test_squares_of_a_wide_map() -> None:
    boxes = rmac_boxes((15, 20))
    assert boxes[:2].tolist() == [[0, 0, 15, 15], [5, 0, 20, 15]]
    assert boxes[2:8].tolist() == [
        [0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10],
        [0, 5, 10, 15], [5, 5, 15, 15], [10, 5, 20, 15],
    ]  # fmt: skip
    # The third scale: side 7, rows at 0, 4, 8, columns at floor(13 k / 3).
    assert len(boxes) == 20
    assert boxes[8:12].tolist() == [[0, 0, 7, 7], [4, 0, 11, 7], [8, 0, 15, 7], [13, 0, 20, 7]]
    assert boxes[-1].tolist() == [13, 8, 20, 15]


def test_squares_of_other_maps() -> None:
    tall, wide = rmac_boxes((20, 15)), rmac_boxes((15, 20))
    flipped = tall[:, [1, 0, 3, 2]]
    assert {tuple(box) for box in flipped.tolist()} == {tuple(box) for box in wide.tolist()}
    assert len(rmac_boxes((9, 9))) == 1 + 4 + 9
    # Thrice as wide: overlaps of -1, 0, 1/3, 1/2 with 2 .. 5 squares; nearest to 0.4 are four.
    assert rmac_boxes((10, 30))[:4, 0].tolist() == [0, 6, 13, 20]
    assert rmac_boxes((1, 1)).tolist() == [[0, 0, 1, 1]]
    assert rmac_boxes((1, 9))[0].tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="must have cells"):
        rmac_boxes((0, 4))


def test_each_square_is_whitened_before_the_sum(network: ConvNetwork) -> None:
    describe = RMac(network)
    describe.fit([noise(seed) for seed in range(4)])
    picture = noise(9)
    values = cells_of(network, picture)
    boxes = rmac_boxes(values.shape[1:])
    macs = np.stack([values[:, y0:y1, x0:x1].max(axis=(1, 2)) for x0, y0, x1, y1 in boxes])
    learned = np.concatenate(
        [
            [m[:, y0:y1, x0:x1].max(axis=(1, 2)) for x0, y0, x1, y1 in boxes]
            for m in (cells_of(network, noise(seed)) for seed in range(4))
        ]
    )
    ready = learned / np.linalg.norm(learned, axis=1, keepdims=True)
    mean = ready.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(ready.T, bias=True))
    to_white = (axes / np.sqrt(variances)).T

    def white(rows: np.ndarray) -> np.ndarray:
        return unit((unit(rows) - mean) @ to_white.T)

    (made,) = describe([picture], [Regions.whole((picture.height, picture.width))])
    right, other = unit(white(macs).sum(axis=0)), white(unit(macs).sum(axis=0))
    # An axis has no sign of its own: compare what signs do not change.
    np.testing.assert_allclose(np.sort(np.abs(made[0])), np.sort(np.abs(right)), atol=2e-3)
    assert np.abs(np.sort(np.abs(made[0])) - np.sort(np.abs(other))).max() > 0.02


def test_without_whitening_by_hand(network: ConvNetwork) -> None:
    picture = noise(3, 96, 96)
    values = cells_of(network, picture)
    rows = [values[:, y0:y1, x0:x1].max(axis=(1, 2)) for x0, y0, x1, y1 in rmac_boxes((3, 3))]
    (made,) = RMac(network)([picture], [Regions.whole((96, 96))])
    np.testing.assert_allclose(made[0], unit(sum(unit(row) for row in rows)), atol=1e-5)


def test_a_query_is_cut_out(network: ConvNetwork) -> None:
    picture = noise(5)
    box = (64, 32, 224, 160)
    describe = RMac(network)
    (of_box,) = describe([picture], [Regions.of_boxes((224, 320), [box])])
    (of_crop,) = describe([picture.crop(box)], [Regions.whole((128, 160))])
    np.testing.assert_allclose(of_box, of_crop, atol=1e-5)


def test_a_region_has_the_maximum_of_the_cells_it_touches(network: ConvNetwork) -> None:
    picture = noise(6)
    values = cells_of(network, picture)
    boxes = [[33, 0, 90, 40], [10, 10, 20, 20], [0, 0, 320, 224]]
    (made,) = RegionMac(network)([picture], [Regions.of_boxes((224, 320), boxes)])
    touched = [values[:, 0:2, 1:3], values[:, :1, :1], values]
    wanted = [unit(cells.max(axis=(1, 2))) for cells in touched]
    np.testing.assert_allclose(made, wanted, atol=1e-5)


def test_manifests_tell_whitenings_apart(network: ConvNetwork) -> None:
    describe = RMac(network)
    before = describe.manifest()
    assert before["dim"] == CHANNELS
    assert before["whitening"] is None
    describe.fit([noise(0), noise(1)])
    after = describe.manifest()
    assert after["whitening"] != before["whitening"]
    assert (after["dim"], after["network"], after["layer"]) == (CHANNELS, "squares", "only")
    with pytest.raises(ValueError, match="at least one photo"):
        describe.fit([])
