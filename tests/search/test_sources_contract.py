"""What every source of regions and every describer must do: one suite each, over all of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from claid_ext import Detector, RegionDescriptor  # noqa: E402
from claid_ext import images as reading  # noqa: E402
from claid_ext.describing import RegionDescriber  # noqa: E402
from claid_ext.errors import UnreadableImageError  # noqa: E402
from claid_ext.images import load_image, read_photo  # noqa: E402
from claid_ext.record import ImageRecord, check_record  # noqa: E402
from claid_ext.regions import region_source  # noqa: E402
from claid_ext.search.recipes import make_descriptor, make_source  # noqa: E402
from PIL import Image  # noqa: E402

COLUMNS = ("boxes", "level", "size", "connectivity", "dominance")
PATCH = 8
SIZES = ((160, 120), (64, 48), (97, 131), (40, 160))  # width, height


def patch_means(batch):
    """Eight numbers a patch, of its colour and how it changes, like a network's at any scale."""
    means = torch.nn.functional.avg_pool2d(batch, PATCH)
    return torch.cat([means, means**2, means[:, :2].abs()], 1).flatten(2).transpose(1, 2)


def detect(scales, dummies=False, **options):
    made_of = {"patch_size": PATCH, "tau": 0.9, "min_patches": 4, **options}
    return region_source(
        "detect", Detector(patch_means, **made_of), scales, with_dummies=dummies, max_regions=9
    )


def weights_of(networks):
    return next(option for option in networks() if option.endswith("test_vit.pth"))


def named(networks, **options):
    """Of a network that a recipe can name."""
    detector = Detector("test_vit", weights=weights_of(networks), tau=0.5, min_patches=2)
    return region_source("detect", detector, (1.0, 1.5), **options)


def listed(networks, **options):
    """Regions that a file lists for each of `paths`."""
    names = [*(f"{i} ü.png" for i in range(len(SIZES))), "turned.png"]
    found = [
        {"image_id": name, "bbox": [4 * n, 3 * n, 12, 9 + n], "score": 0.9 - n / 10}
        for name in names
        for n in range(5)
    ]
    found.append({"image_id": "plain.png", "bbox": [1, 1, 0, 5], "score": 0.5})
    file = Path(weights_of(networks)).with_name("found.json")
    file.write_text(json.dumps(found), encoding="utf-8")
    return region_source("file", file=file, **options)


# A source of another kind takes its place here; each is made anew by every call.
SOURCES = {
    "one scale": lambda _: detect([1]),
    "two scales": lambda _: detect([1, 2]),
    "with dummies": lambda _: detect([1], dummies=True),
    "nothing kept": lambda _: detect([1, 2], dominance=1.0),
    "named network": named,
    "named, dummies, few": lambda networks: named(networks, with_dummies=True, max_regions=3),
    "grid": lambda _: region_source("grid"),
    "full": lambda _: region_source("full"),
    "rmac": lambda _: region_source("rmac"),
    "file": listed,
}


@pytest.fixture(params=list(SOURCES))
def make(request, networks):
    return lambda: SOURCES[request.param](networks)


@pytest.fixture
def paths(tmp_path, picture):
    """Photos of several shapes; a turned one, a single pixel's worth of thing, and a plain one."""
    paths = [tmp_path / f"{i} ü.png" for i in range(len(SIZES))]
    for i, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        picture(i, size, (8, 8, size[0] // 2, size[1] // 2)).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(9).save(tmp_path / "turned.png", exif=exif)
    Image.new("RGB", (32, 24), "gray").save(tmp_path / "plain.png")
    return [*paths, tmp_path / "turned.png", tmp_path / "plain.png"]


def assert_same_regions(one, other):
    assert one.image_size == other.image_size
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.masks is None) == (other.masks is None)
    if one.masks is not None:
        np.testing.assert_array_equal(one.masks, other.masks)
        assert one.covered == other.covered


def test_regions_are_sound(make, paths):
    source = make()
    for path, its in zip(paths, source(paths), strict=True):
        photo = load_image(path)
        assert its.image_size == (photo.height, photo.width)
        assert len(its) >= 1
        assert its.boxes.shape == (len(its), 4)
        assert its.boxes.dtype == np.float32
        assert its.level.dtype == np.int32
        low, high = its.boxes[:, :2], its.boxes[:, 2:]
        assert (low >= 0).all()
        assert (low < high).all()
        assert (high <= np.array([photo.width, photo.height]) + 1e-3).all()
        assert (its.size > 0).all()
        assert (its.size <= (high - low).prod(axis=1) * (1 + 1e-5)).all()
        assert (its.level >= 0).all()
        record = ImageRecord(its.without_pixels(), np.zeros((len(its), 3), np.float32))
        back = ImageRecord.from_bytes(check_record(record).to_bytes())
        assert_same_regions(back.regions, its.without_pixels())
        most = source.manifest().get("max_regions")
        assert most is None or len(its) <= most
        if its.masks is not None:
            assert its.masks.shape[0] == len(its)
            assert its.masks.any(axis=(1, 2)).all()


def test_any_form_of_an_image_will_do(make, paths):
    source = make()
    pictures = [load_image(path) for path in paths]
    forms = [
        [str(path) for path in paths],
        pictures,
        [np.asarray(one) for one in pictures],
        [read_photo(path) for path in paths],
    ]
    if source.name == "file":  # which knows images by their names
        forms = [forms[0], forms[3]]
    wanted = source(paths)
    for form in forms:
        for one, other in zip(source(form), wanted, strict=True):
            assert_same_regions(one, other)
    for path, its in zip(paths[::-1], wanted[::-1], strict=True):
        assert_same_regions(source([path])[0], its)  # alone
    assert source([]) == []


def test_an_unreadable_image_is_named(make, paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:200])
    for bad in (broken, tmp_path / "missing.png", tmp_path):
        with pytest.raises(UnreadableImageError, match=bad.name):
            make()([paths[0], bad])


def test_a_manifest_is_json_and_stays(make):
    source = make()
    manifest = source.manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert source.manifest() == make().manifest() == manifest
    assert manifest["name"] == source.name


def test_manifests_tell_sources_apart(networks):
    others = {
        **SOURCES,
        "tau": lambda _: detect([1], tau=0.8),
        "min_patches": lambda _: detect([1], min_patches=5),
        "seed": lambda _: detect([1], seed=1),
        "fewer": lambda networks: named(networks, max_regions=5),
        "dummies": lambda networks: named(networks, with_dummies=True),
        "file, of some score": lambda networks: listed(networks, min_score=0.5),
        "file, few": lambda networks: listed(networks, max_regions=3),
    }
    made = {name: json.dumps(make(networks).manifest()) for name, make in others.items()}
    assert len(set(made.values())) == len(others)
    threads = detect([1], threads=1).manifest()  # changes no region
    assert threads == json.loads(made["one scale"])


def test_a_recipe_makes_the_same_source(make, paths):
    source = make()
    recipe = json.loads(json.dumps(source.recipe()))
    if recipe is None:  # its network is a Python object
        assert source.detector.backbone.recipe() is None
        return
    assert isinstance(recipe["version"], int)
    again = make_source(recipe)
    assert again.manifest() == source.manifest()
    assert again.recipe() == source.recipe()
    for one, other in zip(source(paths), again(paths), strict=True):
        assert_same_regions(one, other)


def conv(pooling, octaves=1):
    torch.manual_seed(0)
    module = torch.nn.Conv2d(3, 6, 16, stride=16)
    return RegionDescriptor(module, pooling=pooling, octaves=octaves)


def describers(fake, networks):
    """A describer of another kind takes its place here."""
    path = next(option for option in networks("conv") if option.endswith("efficientnet.pth"))
    detector = named(networks).detector
    detector = Detector("test_vit", weights=weights_of(networks), tau=0.5, keep_features=True)
    tokens = region_source("detect", detector)
    return {
        "fake": RegionDescriber(region_source("grid"), fake()),
        "module": RegionDescriber(detect([1, 2]), conv("mean", octaves=2)),
        "module, whitened": RegionDescriber(region_source("rmac"), conv("whitened")),
        "named": RegionDescriber(
            named(networks), RegionDescriptor("test_efficientnet", weights=path, pooling="gem")
        ),
        "named, whitened": RegionDescriber(
            named(networks), RegionDescriptor("test_efficientnet", weights=path, pooling="whitened")
        ),
        "tokens": RegionDescriber(tokens, RegionDescriptor(detector.backbone, pooling="mask")),
    }


DESCRIBERS = ("fake", "module", "module, whitened", "named", "named, whitened", "tokens")


@pytest.fixture(params=DESCRIBERS)
def describer(request, fake, networks):
    made = describers(fake, networks)
    assert tuple(made) == DESCRIBERS
    return made[request.param]


def assert_same_records(one, other, atol=0.0):
    assert_same_regions(one.regions, other.regions)
    np.testing.assert_allclose(one.vectors, other.vectors, rtol=0, atol=atol)
    assert one.vectors.dtype == other.vectors.dtype
    assert [its.layer for its in one.maps] == [its.layer for its in other.maps]
    for its, others in zip(one.maps, other.maps, strict=True):
        assert its.cell == others.cell
        np.testing.assert_allclose(its.values, others.values, rtol=0, atol=atol)


def test_records_are_sound(describer, paths):
    records = describer(paths)
    for path, its in zip(paths, records, strict=True):
        photo = load_image(path)
        assert check_record(its) is its
        assert len(its) >= 1
        assert its.regions.image_size == (photo.height, photo.width)
        assert its.regions.masks is its.regions.tokens is its.regions.covered is None
        length = np.linalg.norm(its.unit_vectors, axis=1)
        assert np.isfinite(its.unit_vectors).all()
        assert ((np.abs(length - 1) < 1e-2) | (length == 0)).all()
        assert (length > 0).any()
        assert_same_records(ImageRecord.from_bytes(its.to_bytes()), its)
        assert_same_regions(describer.source([path])[0].without_pixels(), its.regions)
    assert len({its.vectors.shape[1] for its in records}) == 1
    assert describer([]) == []


def test_a_record_is_the_same_in_any_batch_and_form(describer, paths):
    together = describer(paths)
    rounding = 1e-5 if together[0].vectors.dtype == np.float32 else 1
    for path, its in zip(paths, together, strict=True):
        (alone,) = describer([path])
        assert_same_records(alone, its, rounding)
        for form in (load_image(path), np.asarray(load_image(path)), read_photo(path), str(path)):
            assert_same_records(describer([form])[0], alone)
    for its, others in zip(describer(paths), together, strict=True):
        assert its.to_bytes() == others.to_bytes()  # a pure function


def test_each_photo_is_decoded_once(describer, paths, monkeypatch):
    decoded = []

    def counting(path):
        decoded.append(str(path))
        return load_image(path)

    monkeypatch.setattr(reading, "load_image", counting)
    describer(paths)
    assert sorted(decoded) == sorted(map(str, paths))
    photos = [read_photo(path) for path in paths]
    decoded.clear()
    describer(photos)
    assert decoded == []


def test_a_describer_says_what_it_is(describer, fake, networks):
    name = next(n for n, one in describers(fake, networks).items()
                if one.manifest() == describer.manifest())  # fmt: skip
    manifest = describer.manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert set(manifest) >= {"regions", "descriptor"}
    recipe = json.loads(json.dumps(describer.recipe()))
    if name in {"named", "named, whitened", "tokens"}:
        again = RegionDescriber(make_source(recipe["regions"]),
                                make_descriptor(recipe["descriptor"]))  # fmt: skip
        assert again.manifest() == manifest
        photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        assert_same_records(again([photo])[0], describer([photo])[0], 1e-5)
    else:
        assert recipe["descriptor"] is None


def test_manifests_tell_describers_apart(fake, networks):
    made = {json.dumps(one.manifest()) for one in describers(fake, networks).values()}
    assert len(made) == len(DESCRIBERS)


@pytest.mark.parametrize(
    ("spoil", "error", "why"),
    [
        (lambda rows: rows[:-1], ValueError, r"must be \(30, 8\), one per region, got \(29, 8\)"),
        (lambda rows: rows[:, :5], ValueError, r"must be \(30, 8\), one per region, got \(30, 5\)"),
        (lambda rows: rows[0], ValueError, r"must be \(30, 8\)"),
        (lambda rows: np.where(np.arange(8) == 3, np.nan, rows), ValueError, "must be finite"),
        (lambda rows: np.where(np.arange(8) == 3, np.inf, rows), ValueError, "must be finite"),
        (lambda rows: 1.1 * rows, ValueError, r"must be of length 1, got 1\.1"),
        (lambda rows: (100 * rows).astype(np.int8), TypeError, "must be floats, got int8"),
    ],
)
def test_wrong_vectors_are_an_error_that_names_the_photo(fake, paths, spoil, error, why):
    class Wrong(fake):
        def __call__(self, images, regions):
            *right, last = super().__call__(images, regions)
            return [*right, spoil(last)]

    describer = RegionDescriber(region_source("grid"), Wrong())
    with pytest.raises(error, match=f"the vectors of {paths[1]} {why}"):
        describer(paths[:2])


def test_a_descriptor_that_forgets_a_photo_is_an_error(fake, paths):
    class Short(fake):
        def __call__(self, images, regions):
            return super().__call__(images, regions)[:-1]

    with pytest.raises(ValueError, match="shorter"):
        RegionDescriber(region_source("full"), Short())(paths)
