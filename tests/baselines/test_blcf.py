"""BLCF step by step: words, their histogram, saliency, queries; and its sparse index."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("scipy")
pytest.importorskip("timm")

from claid_ext.descriptors import blcf as module  # noqa: E402
from claid_ext.descriptors.basis import Basis  # noqa: E402
from claid_ext.descriptors.blcf import Blcf, Vocabulary, box_cells, histogram  # noqa: E402
from claid_ext.descriptors.networks import ConvNetwork  # noqa: E402
from claid_ext.descriptors.saliency import block_maxima  # noqa: E402
from claid_ext.evaluation.engines import BagEngine  # noqa: E402
from claid_ext.regions import Regions  # noqa: E402
from claid_ext.search import Query  # noqa: E402
from claid_ext.stage_times import StageTimes  # noqa: E402
from PIL import Image  # noqa: E402


def test_a_histogram_adds_up_weights() -> None:
    row = histogram(np.array([2, 0, 2, 4]), np.array([1.0, 2, 0.5, 0], np.float32), 6)
    assert row.shape == (1, 6)
    length = np.sqrt(1.5**2 + 2**2)
    np.testing.assert_allclose(row.toarray()[0], [2 / length, 0, 1.5 / length, 0, 0, 0], rtol=1e-6)
    assert row.nnz == 2, "a word of no weight is not stored"
    assert histogram(np.array([1]), np.zeros(1, np.float32), 3).toarray().tolist() == [[0, 0, 0]]


def test_cells_take_the_largest_saliency_of_their_block() -> None:
    saliency = np.zeros((32, 48), np.float32)
    saliency[3, 20] = 0.8
    saliency[31, 47] = 0.2
    saliency[16:, :16] = 0.1
    wanted = [[0, 1, 0], [0.125, 0, 0.25]]
    np.testing.assert_allclose(block_maxima(saliency, (2, 3)), wanted, rtol=1e-5)
    assert (block_maxima(np.zeros((9, 9), np.float32), (2, 2)) == 1).all()
    assert block_maxima(np.ones((5, 7), np.float32), (3, 4)).shape == (3, 4)


def test_cells_of_which_a_box_covers_half() -> None:
    # Cells of 10 x 10 pixels; the box covers .6 of the second column, 1 and .3 of the rows.
    inside = box_cells((14, 0, 20, 13), (2, 3), (20.0, 30.0))
    assert np.argwhere(inside).tolist() == [[0, 1]]
    assert box_cells((0, 0, 30, 20), (2, 3), (20.0, 30.0)).all()
    tiny = box_cells((22, 12, 24, 13), (2, 3), (20.0, 30.0))
    assert np.argwhere(tiny).tolist() == [[1, 2]], "at least the one it covers most"


class Colours(torch.nn.Module):
    """Cells of 16 pixels, their mean colour."""

    def forward(self, batch):
        return torch.nn.functional.avg_pool2d(batch, 16)


@pytest.fixture
def network() -> ConvNetwork:
    return ConvNetwork(Colours(), name="colours", layers=("only",), mean=(0.5,) * 3, std=(1.0,) * 3)


def photo(*things, ground=(128, 128, 128), size=(320, 160)) -> Image.Image:
    picture = Image.new("RGB", size, ground)
    for box, colour in things:
        picture.paste(colour, box)
    return picture


RED, GREEN, BLUE = (250, 20, 20), (20, 250, 20), (20, 20, 250)


@pytest.fixture
def words(monkeypatch) -> Vocabulary:
    """Five words, one each for grey, red, green, blue and white: whitening leaves cells as is."""
    monkeypatch.setattr(module, "LONGER_SIDE", 320)
    rng = np.random.default_rng(0)
    whitening = Basis.fit([rng.normal(size=(4000, 3)).astype(np.float32)], dims=[3])
    colours = np.array([(120, 130, 125), RED, GREEN, BLUE, (255, 255, 255)]) / 255 - 0.5
    return Vocabulary(whitening, whitening[0].whiten(colours.astype(np.float32)))


def test_photos_and_queries_by_hand(network: ConvNetwork, words: Vocabulary, monkeypatch) -> None:
    monkeypatch.setattr(module, "ZOOM", 1)
    picture = photo(((32, 32, 96, 96), RED), ((160, 0, 192, 160), GREEN), ground=(255, 255, 255))
    describe = Blcf(network, vocabulary=words)
    counts = np.array([0, 16, 20, 0, 200 - 36])
    made = describe.photo(picture).toarray()[0]
    np.testing.assert_allclose(made, counts / np.linalg.norm(counts), rtol=1e-5)
    inside = describe.query(picture, (32, 32, 112, 96)).toarray()[0]
    counts = np.array([0, 16, 0, 0, 4])
    np.testing.assert_allclose(inside, counts / np.linalg.norm(counts), rtol=1e-5)
    regions = Regions.of_boxes((160, 320), [[0, 0, 320, 160], [32, 32, 112, 96]])
    (rows,) = describe([picture], [regions])
    np.testing.assert_allclose(rows, [made, inside], rtol=1e-5)
    assert describe.manifest()["dim"] == 5


def test_the_map_is_enlarged_before_cells_are_named(
    network: ConvNetwork, words: Vocabulary
) -> None:
    describe = Blcf(network, vocabulary=words)
    named, extent = describe._words(photo(((0, 0, 160, 160), RED), ground=BLUE))
    assert named.shape == (20, 40)
    assert extent == (160.0, 320.0)
    assert (named[:, :19] == 1).all()
    assert (named[:, 21:] == 3).all()


class Marked:
    """Salient where a photo is red."""

    name = fingerprint = "marked"

    def __call__(self, picture):
        pixels = np.asarray(picture, np.float32) / 255
        return np.maximum(pixels[..., 0] - pixels[..., 1], 0)


def test_saliency_weighs_photos_and_not_queries(
    network: ConvNetwork, words: Vocabulary, monkeypatch
) -> None:
    monkeypatch.setattr(module, "ZOOM", 1)
    picture = photo(((32, 32, 96, 96), RED), ground=(255, 255, 255))
    weighed, plain = (Blcf(network, its, words) for its in (Marked(), None))
    assert weighed.photo(picture).toarray()[0].argmax() == 1
    assert plain.photo(picture).toarray()[0].argmax() == 4
    # Resizing to 16 pixels a cell is exact here, so that no other cell has any weight.
    assert weighed.photo(picture).nnz == 1
    box = (32, 32, 160, 96)
    assert (weighed.query(picture, box) != plain.query(picture, box)).nnz == 0


def test_padding_is_not_salient(network: ConvNetwork, words: Vocabulary, monkeypatch) -> None:
    monkeypatch.setattr(module, "ZOOM", 1)
    seen = []

    def keep(saliency, cells):
        seen.append((saliency.shape, cells))
        return np.ones(cells, np.float32)

    monkeypatch.setattr(module, "block_maxima", keep)
    Blcf(network, Marked(), words).photo(photo(size=(320, 168)))
    assert seen == [((176, 320), (11, 20))], "eight rows of pixels under the photo"


def test_words_are_learned_from_the_photos(network: ConvNetwork, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(module, "LONGER_SIDE", 320)
    rng = np.random.default_rng(1)
    photos = [
        Image.fromarray(rng.integers(0, 256, (10, 20, 3)).astype(np.uint8)).resize(
            (320, 160), Image.Resampling.NEAREST
        )
        for _ in range(4)
    ]
    describe = Blcf(network)
    with pytest.raises(ValueError, match="needs a vocabulary"):
        describe.photo(photos[0])
    describe.fit(photos)
    assert describe.words_count == 4 * 200 // 40, "a word for 40 cells"
    first = describe.vocabulary
    describe.fit(photos)
    assert describe.vocabulary.fingerprint == first.fingerprint
    describe.fit(photos, words=7)
    assert describe.words_count == 7
    first.save(tmp_path / "words.npz")
    again = Vocabulary.load(tmp_path / "words.npz")
    assert again.fingerprint == first.fingerprint
    cells = rng.normal(size=(50, 3)).astype(np.float32)
    nearest = np.linalg.norm(
        again.whitening[0].whiten(cells)[:, None] - again.words[None], axis=2
    ).argmin(axis=1)
    assert again.name(cells).tolist() == nearest.tolist()
    with pytest.raises(ValueError, match="at least one photo"):
        describe.fit([])


def test_the_index_ranks_by_cosine_and_expands(network: ConvNetwork, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(module, "LONGER_SIDE", 320)
    monkeypatch.setattr(module, "CELLS_A_WORD", 200)
    ground = [(128 + 9 * n, 128 - 7 * n, 110 + 5 * n) for n in range(6)]
    things = [RED, RED, GREEN, BLUE, GREEN, RED]
    paths = []
    for number, (colour, under) in enumerate(zip(things, ground, strict=True)):
        box = (32 * number, 32, 32 * number + 96, 128)
        paths.append(tmp_path / f"{number}.png")
        photo((box, colour), ground=under).save(paths[-1])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    images = [paths[0], broken, *paths[1:]]

    def engine() -> BagEngine:
        made = BagEngine(tmp_path / "index", Blcf(network), images)
        assert made.add(progress=False) == 1
        return made

    first = engine()
    assert (first.features, first.images) == (6, 6)
    prepared = first.prepare(Query(paths[0], (0, 32, 96, 128)))
    ranking = first.rank(prepared, 0, 0, StageTimes())
    rows = first._histograms.toarray()
    cosines = rows @ prepared[0]
    order = np.argsort(-cosines, kind="stable")
    assert ranking.images.tolist() == [[0, 2, 3, 4, 5, 6][n] for n in order]
    assert set(ranking.images[:3].tolist()) == {0, 2, 6}
    grown = prepared[0] + rows[order[:2]].sum(axis=0)
    wanted = np.argsort(-(rows @ grown), kind="stable")
    expanded = first.rank(prepared, 0, 2, StageTimes())
    assert expanded.images.tolist() == [[0, 2, 3, 4, 5, 6][n] for n in wanted]
    sizes = first.record_bytes()
    assert sizes.tolist() == [8 * (row > 0).sum() for row in rows]

    made = (tmp_path / "index" / "histograms.npz").stat().st_mtime_ns
    again = engine().rank(prepared, 0, 0, StageTimes())
    assert again.images.tolist() == ranking.images.tolist()
    assert (tmp_path / "index" / "histograms.npz").stat().st_mtime_ns == made, "not made anew"
    photo(((0, 0, 9, 9), BLUE)).save(paths[5])
    engine()
    assert (tmp_path / "index" / "histograms.npz").stat().st_mtime_ns != made, "a photo changed"
