"""`Detector`: sizes, exact boxes in the photo's pixels, order, batches, errors, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

import claid_ext  # noqa: E402
from claid_ext import Detector, RegionTree  # noqa: E402
from claid_ext.backbones.preprocess import input_size, to_tensor  # noqa: E402
from claid_ext.errors import UnreadableImageError  # noqa: E402
from claid_ext.plot import PALETTE, draw_detection  # noqa: E402

SIDE = st.integers(1, 4000)
NEUTRAL = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def detector(patch_means: Callable[[Any], Any]) -> Detector:
    return Detector(patch_means, patch_size=8, tau=0.9, min_patches=2)


@pytest.mark.parametrize(
    ("image_size", "patch", "resized", "grid"),
    [
        ((480, 640), 8, (360, 480), (45, 60)),
        ((640, 480), 8, (480, 360), (60, 45)),
        ((426, 640), 14, (360, 541), (25, 38)),
        ((1000, 4000), 8, (200, 800), (25, 100)),
        ((355, 500), 16, (355, 500), (22, 31)),
        ((356, 500), 16, (360, 506), (22, 31)),
        ((100, 120), 8, (100, 120), (12, 15)),
        ((300, 1500), 8, (300, 1500), (37, 187)),
        ((50, 20000), 8, (38, 15179), (4, 1897)),
        ((1, 1), 8, (8, 8), (1, 1)),
        ((3, 100), 14, (14, 100), (1, 7)),
        ((360, 100000), 14, (14, 800), (1, 57)),
    ],
)
def test_input_size(
    image_size: tuple[int, int], patch: int, resized: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert input_size(image_size, patch) == (resized, grid)


@given(SIDE, SIDE, st.sampled_from([8, 14, 16]))
def test_input_size_of_any_image(height: int, width: int, patch: int) -> None:
    (h, w), (rows, columns) = input_size((height, width), patch)
    assert rows == h // patch >= 1
    assert columns == w // patch >= 1
    assert h * w <= 2.1 * 360 * 800
    if min(height, width) > 355:
        assert abs(min(h, w) - 360) <= 0.5 or max(h, w) == 800 or min(h, w) == patch
        assert max(h, w) <= 800
    assert input_size((width, height), patch) == ((w, h), (columns, rows))


def test_an_image_too_elongated_for_a_grid() -> None:
    with pytest.raises(ValueError, match=r"1 x 600000 pixels .* is too elongated"):
        input_size((1, 600000), 8)


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([8, 14, 16]))
def test_covered_is_what_the_patches_show(height: int, width: int, patch: int) -> None:
    """A ramp over the photo: each patch's mean is the ramp at the middle of its pixel box."""
    y = np.linspace(0, 255, height, endpoint=False) + 127.5 / height
    x = np.linspace(0, 255, width, endpoint=False) + 127.5 / width
    pixels = np.stack(np.broadcast_arrays(y[:, None], x[None], 0.0), axis=2)
    image = Image.fromarray(np.rint(pixels).astype(np.uint8))
    tensor, covered = to_tensor(image, patch, *NEUTRAL)
    rows, columns = tensor.shape[1] // patch, tensor.shape[2] // patch
    assert covered[0] <= height
    assert covered[1] <= width
    means = tensor.reshape(3, rows, patch, columns, patch).mean((2, 4)).numpy() * 255
    middle_y = (np.arange(rows) + 0.5) * covered[0] / rows
    middle_x = (np.arange(columns) + 0.5) * covered[1] / columns
    # Rounding to 8 bits, and the bend of the resized ramp at its two ends.
    assert np.abs(means[0] - (middle_y * 255 / height)[:, None])[1:-1].max(initial=0) < 1.5
    assert np.abs(means[1] - (middle_x * 255 / width)[None])[:, 1:-1].max(initial=0) < 1.5


def test_boxes_are_in_the_photos_pixels(detector: Detector) -> None:
    """A square drawn at known pixels comes back as a region with that box, to a patch."""
    pixels = np.zeros((720, 960, 3), np.uint8)
    pixels[:] = (20, 200, 20)
    pixels[160:400, 320:640] = (220, 30, 30)
    (found,) = detector(pixels)
    assert found.image_size == (720, 960)
    assert found.covered == (720.0, 960.0)
    assert found.tree.grid == (45, 60)
    errors = np.abs(found.boxes - [320, 160, 640, 400]).max(axis=1)
    assert errors.min() <= 16


def test_results_are_in_order_whatever_the_batch(
    photo: Callable[..., Image.Image], patch_means: Callable[[Any], Any]
) -> None:
    sizes = [(96, 128), (64, 64), (96, 128), (80, 40), (64, 64), (96, 128), (96, 128)] * 3
    images = [photo(*size, seed=seed) for seed, size in enumerate(sizes)]
    options = {"patch_size": 8, "tau": 0.9, "min_patches": 2, "keep_features": True}
    alone = Detector(patch_means, **options)(images)
    assert [found.image_size for found in alone] == sizes
    for batch_size in (2, 3, 50):
        together = Detector(patch_means, batch_size=batch_size, **options)(images)
        for one, other in zip(alone, together, strict=True):
            assert one.tree == other.tree
            assert torch.equal(one.features, other.features)


def test_the_tree_is_that_of_the_features(
    detector: Detector, photo: Callable[..., Image.Image], patch_means: Callable[[Any], Any]
) -> None:
    image = photo()
    pixels, _ = detector.backbone.preprocess(image)
    features = patch_means(pixels[None])[0]
    assert detector(image)[0].tree == claid_ext.detect(
        features, (12, 16), **detector.detect_options
    )
    assert detector.detect_options == {"tau": 0.9, "min_patches": 2}


def test_paths_pil_images_and_arrays(detector: Detector, photos: Path) -> None:
    image = Image.open(photos / "a.jpg")
    found = detector([photos / "a.jpg", str(photos / "a.jpg"), image, np.asarray(image)])
    assert [f.path for f in found] == [str(photos / "a.jpg")] * 2 + [None] * 2
    assert all(f.tree == found[0].tree for f in found)
    assert detector([]) == []
    assert len(detector(photos / "a.jpg")) == 1


def test_one_bad_image_raises_or_is_left_out(detector: Detector, photos: Path) -> None:
    images = [photos / "a.jpg", photos / "truncated.jpg", photos / "none.jpg", photos / "sub/a.jpg"]
    with pytest.raises(UnreadableImageError, match="truncated"):
        detector(images)
    left_out: dict[Path, str] = {}
    found = detector.stream(images, on_error=lambda image, e: left_out.update({image: str(e)}))
    assert [f.path for f in found] == [str(images[0]), str(images[3])]
    assert list(left_out) == images[1:3]
    assert "no such file" in left_out[images[2]]


def test_images_are_read_as_they_are_needed(
    detector: Detector, photo: Callable[..., Image.Image]
) -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield photo(16, 16)

    stream = detector.stream(endless())
    for _ in range(10):
        next(stream)
    stream.close()
    assert 10 <= read <= 16


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"taw": 0.2}, TypeError, "no option 'taw'"),
        ({"tau": 2.0}, ValueError, "tau must be from -1 to 1"),
        ({"min_patches": 2.5}, TypeError, "min_patches"),
        ({"threads": 0}, ValueError, "threads"),
        ({"batch_size": 0}, ValueError, "batch_size"),
    ],
)
def test_wrong_options_fail_before_any_weights(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Detector("dino_vitb8", **options)


def test_to_dict_is_json_and_holds_the_masks(
    detector: Detector, photo: Callable[..., Image.Image]
) -> None:
    mask_utils = pytest.importorskip("pycocotools.mask")
    (found,) = detector(photo())
    content = json.loads(json.dumps(found.to_dict()))
    assert len(content["regions"]) == len(found.tree) > 0
    assert [region["box"] for region in content["regions"]] == found.boxes.tolist()
    for i, region in enumerate(content["regions"]):
        decoded = mask_utils.decode(mask_utils.frPyObjects(region["rle"], *found.tree.grid))
        assert np.array_equal(decoded.astype(bool), found.masks(i))
        assert region["size"] == decoded.sum()


@pytest.mark.parametrize("size", [(96, 128), (200, 60), (20, 400), (400, 20), (1, 1), (9, 9)])
def test_pictures_of_all_shapes(
    detector: Detector, photo: Callable[..., Image.Image], size: tuple[int, int]
) -> None:
    image = photo(*size)
    (found,) = detector(image)
    page = np.asarray(draw_detection(image, found))
    assert page.ndim == 3
    assert max(page.shape) < 8000
    border = np.concatenate([page[:20].ravel(), page[-20:].ravel(), page[:, :20].ravel()])
    assert border.min() == 255
    with pytest.raises(ValueError, match="image must be of the detection's size"):
        draw_detection(image.resize((77, 77)), found)


def test_outline_runs_along_the_patches(detector: Detector) -> None:
    """Of a kept region at level 1, the first row of pixels of its first patches is outline."""
    pixels = np.zeros((160, 320, 3), np.uint8)
    pixels[40:120, 80:240] = (200, 200, 200)
    (found,) = detector(pixels)
    i = next(i for i in found.kept if found.tree.level[i] == 1)
    page = np.asarray(draw_detection(Image.fromarray(pixels), found)).astype(int)
    row = found.tree.boxes[i, 1]
    inside = np.repeat(found.masks(i)[row], 40)  # 8 pixels, drawn 5 times as large
    drawn = page[102 + 40 * row, 48 : 48 + 1600][inside]
    assert len(drawn) > 0
    assert drawn.tolist() == [drawn[0].tolist()] * len(drawn)
    assert drawn[0].tolist() in PALETTE.tolist()


@pytest.fixture(scope="module")
def focus() -> Detector:
    pytest.importorskip("onnx")
    from claid_ext.backbones import BACKBONES

    try:
        BACKBONES["focus_vits14"].package.find()
    except claid_ext.errors.WeightsUnavailableError as error:
        pytest.skip(str(error))
    return Detector("focus_vits14", device="cpu", runtime="torch")


def test_focus_vits14_tokens_are_those_of_the_exported_graph(focus: Detector) -> None:
    """At its own 37 x 37 patches, where no position is interpolated; block 9 of 12, then norm."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from claid_ext.backbones import BACKBONES

    model = onnx.load(BACKBONES["focus_vits14"].package.find())
    adds = [n for n in model.graph.node if n.op_type == "Add" and "/layer.8/" in n.name]
    block = adds[-1].output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(block, 1, None))
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.Clear()
    session = runtime.InferenceSession(model.SerializeToString())
    pixels = torch.randn(1, 3, 518, 518, generator=torch.Generator().manual_seed(0))
    (expected,) = session.run([block], {"input_image": pixels.numpy()})
    norm = focus.backbone._module.norm
    with torch.inference_mode():
        wanted = norm(torch.from_numpy(expected))[:, 1:]
    features = focus.backbone.features(pixels)
    assert features.shape == (1, 37 * 37, 384)
    assert (features - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_focus_vits14_on_photos(focus: Detector, data_dir: Path) -> None:
    """About 30 kept regions a photo, as the paper's detector."""
    photos = sorted((data_dir / "detect" / "images").glob("*.jpg"))[:6]
    found = focus(photos)
    assert 20 <= np.mean([len(f.kept) for f in found]) <= 40
    assert all(isinstance(f.tree, RegionTree) for f in found)
