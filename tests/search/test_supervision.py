"""Detections and hits as supervision has them, by the real package."""

from __future__ import annotations

import json

import numpy as np
import pytest

sv = pytest.importorskip("supervision")
torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("faiss")
from claid_ext import Detector, InstanceIndex  # noqa: E402
from claid_ext.images import load_image  # noqa: E402
from claid_ext.regions import region_source  # noqa: E402
from claid_ext.search import Query  # noqa: E402


def patch_means(batch):
    return torch.nn.functional.avg_pool2d(batch, 8).flatten(2).transpose(1, 2)


@pytest.fixture(scope="module")
def detection(picture):
    (found,) = Detector(patch_means, patch_size=8, tau=0.9, min_patches=4)(picture())
    assert len(found.kept) >= 1
    return found


def test_a_detection(detection):
    made = detection.to_supervision()
    kept = detection.kept
    assert isinstance(made, sv.Detections)
    np.testing.assert_allclose(made.xyxy, detection.boxes[kept])
    assert made["region"].tolist() == kept.tolist()
    assert made["level"].tolist() == detection.tree.level[kept].tolist()
    np.testing.assert_allclose(made["connectivity"], detection.tree.connectivity[kept], rtol=1e-6)
    np.testing.assert_allclose(made["dominance"], detection.tree.dominance[kept], rtol=1e-6)
    assert made.confidence is None
    assert made.class_id.tolist() == [0] * len(kept)
    # The very masks that COCO gets.
    coco = pytest.importorskip("pycocotools.mask")
    listed = detection.tree.to_coco(detection.image_size, covered=detection.covered)
    for mask, one in zip(made.mask, listed, strict=True):
        np.testing.assert_array_equal(mask, coco.decode(one["segmentation"]).astype(bool))
    everything = detection.to_supervision(kept_only=False)
    assert len(everything) == len(detection.tree)


def test_it_can_be_drawn_filtered_and_merged(detection, picture):
    made = detection.to_supervision()
    pixels = np.ascontiguousarray(np.asarray(picture())[:, :, ::-1])
    for annotator in (sv.BoxAnnotator(), sv.MaskAnnotator()):
        assert (annotator.annotate(pixels.copy(), made) != pixels).any()
    first = made[made["level"] == 1]
    assert set(first["level"]) == {1}
    assert len(sv.Detections.merge([made, made])) == 2 * len(made)


def test_regions_of_boxes_have_no_masks(picture):
    (grid,) = region_source("grid")([picture()])
    made = grid.to_supervision()
    np.testing.assert_array_equal(made.xyxy, grid.boxes)
    assert made.mask is None


@pytest.fixture
def index(fake, photos, tmp_path):
    with InstanceIndex.create(tmp_path / "i", descriptor=fake(), regions="grid") as index:
        index.add(photos)
        yield index


def test_hits(index, photos):
    (hits,) = index.search((photos[2], (0, 0, 30, 30)), 4)
    made = index.to_supervision(hits)
    assert list(made) == [hit.image for hit in hits]
    for hit in hits:
        one = made[hit.image]
        np.testing.assert_allclose(one.xyxy, [hit.box])
        assert one.confidence[0] == pytest.approx(hit.score)
        assert one["similarity"][0] == pytest.approx(hit.similarity)
        assert np.isnan(one["probability"][0])
        assert not one["likely"][0]
    both = Query(photos[2], [(0, 0, 30, 30), (20, 10, 60, 40)], all_of=True)
    (hits,) = index.search(both, 2)
    for hit, one in zip(hits, index.to_supervision(hits).values(), strict=True):
        np.testing.assert_allclose(one.xyxy, [part.box for part in hit.parts])
        assert one.class_id.tolist() == [0, 1]
    assert index.to_supervision([]) == {}


def test_hits_become_a_data_set_and_its_regions_an_index(index, photos, fake, tmp_path):
    """There and back: as_coco writes what `regions="file"` reads."""
    (hits,) = index.search((photos[2], (0, 0, 30, 30)), 4)
    made = index.to_supervision(hits)
    dataset = sv.DetectionDataset(classes=["thing"], images=list(made), annotations=made)
    dataset.as_coco(annotations_path=str(tmp_path / "coco.json"))
    assert len(json.loads((tmp_path / "coco.json").read_text())["annotations"]) == 4
    source = region_source("file", file=tmp_path / "coco.json")
    for hit in hits:
        (its,) = source([hit.image])
        np.testing.assert_allclose(its.boxes, [hit.box], atol=1)
        assert its.image_size == load_image(hit.image).size[::-1]
