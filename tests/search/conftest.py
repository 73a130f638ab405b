"""Descriptors and detectors without a hub: a fake one, small random ones, the real offline ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fake_descriptor import FakeDescriptor
from stores import KINDS

SIZE = (160, 120)
THING = (40, 30, 110, 80)


@pytest.fixture
def fake():
    return FakeDescriptor


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    paths = []
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        paths.append(folder / f"bild {i} ü.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """Options of the command line for timm's smallest networks, weights random, from local files.

    Of "tokens" the detector's own features are the descriptor; of "conv" another network's.
    """
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("test_vit", "test_efficientnet"):
        torch.save(timm.create_model(name, num_classes=0).state_dict(), folder / f"{name}.pth")
    detector = ["--backbone", "test_vit", "--weights", str(folder / "test_vit.pth")]
    detector += ["--tau", "0.5", "--min-patches", "2"]
    conv = ["test_efficientnet", "--descriptor-weights", str(folder / "test_efficientnet.pth")]

    def options(descriptor="tokens"):
        return [*detector, "--descriptor", *(conv if descriptor == "conv" else ["tokens"])]

    return options


def made_picture(seed=0, size=SIZE, box=THING):
    """An RGB picture: dark noise, and a bright striped thing in `box`."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    width, height = size
    pixels = rng.integers(0, 60, (height, width, 3))
    x0, y0, x1, y1 = box
    stripes = (np.arange(x0, x1) // 4 % 2 * 80 + 120)[None, :, None]
    pixels[y0:y1, x0:x1] = stripes + rng.integers(0, 55, 3)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="session")
def picture():
    return made_picture


@pytest.fixture
def claid(tmp_path, networks, capsys, monkeypatch):
    """Run `claid ARGUMENTS` in tmp_path; returns the exit status, stdout and stderr.

    `index` gets the small networks and the index `things`.
    """
    from claid_ext.cli import main

    monkeypatch.chdir(tmp_path)

    def run(command, *arguments):
        given = [str(argument) for argument in arguments]
        if command == "index":
            given += ["-o", "things", *networks()]
        capsys.readouterr()
        status = main([command, *given])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return status, printed.out, printed.err

    return run


@pytest.fixture
def things(claid, picture, tmp_path):
    """The folder of an index of three good photos."""
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        picture(seed).save(tmp_path / "photos" / f"{seed}.png")
    assert claid("index", "photos")[0] == 0
    return tmp_path / "things"


@pytest.fixture
def results(claid):
    """Run `claid search ARGUMENTS --json`, which must succeed, and return the results."""

    def run(*arguments):
        status, out, err = claid("search", *arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)["results"]

    return run


@pytest.fixture(scope="session")
def real_detector():
    """focus_vits14, with the tokens of each detection."""
    for module in ("torch", "timm", "onnx", "skimage"):
        pytest.importorskip(module)
    from claid_ext import Detector
    from claid_ext.errors import WeightsUnavailableError

    try:
        return Detector("focus_vits14", keep_features=True)
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def real_descriptor():
    """efficientnet_lite0, as it is by default."""
    for module in ("torch", "timm"):
        pytest.importorskip(module)
    from claid_ext import RegionDescriptor
    from claid_ext.errors import WeightsUnavailableError

    try:
        return RegionDescriptor("efficientnet_lite0")
    except WeightsUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def cup_on_cat(tmp_path):
    """A query of a cup, its box; a folder of photos, the one with the cup in it, and where.

    It has 0.7 times the size that it has in the query, and hides half of a cat.
    """
    pytest.importorskip("skimage")
    from claid_ext.images import load_image
    from claid_ext.weights import package_file

    def photo(name):
        return load_image(package_file("scikit-image", f"skimage/data/{name}"))

    box = (80, 18, 478, 388)
    cup, cat = photo("coffee.png"), photo("chelsea.png")
    cup.save(tmp_path / "query.png")
    (photos := tmp_path / "photos").mkdir()
    cat.save(photos / "cat.png")
    photo("rocket.jpg").save(photos / "rocket.png")
    cat.paste(cup.crop(box).resize((279, 259)), (152, 10))
    cat.save(photos / "both.png")
    return tmp_path / "query.png", box, photos, photos / "both.png", (152, 10, 431, 269)


@pytest.fixture(scope="session")
def two_stage():
    """`small_descriptor`, made once."""
    pytest.importorskip("torch")
    from small_network import small_descriptor

    return small_descriptor()


def made_album(folder, count, size=(96, 64), first=0):
    """Photos of blobs, each of other ones: their paths, absolute."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    paths = []
    for seed in range(first, first + count):
        small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
        paths.append(str(folder / f"{seed:03}.png"))
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def album():
    return made_album


def stored_records(index):
    """Every record of an index with its maps: path -> (record, maps)."""
    with index.store.reading() as view:
        names = dict(zip(view.table.ids.tolist(), view.table.paths, strict=True))
        maps = dict(view.maps(view.table.ids))
        return {names[i]: (its, maps.get(i, ())) for i, its in view.records(view.table.ids)}


@pytest.fixture(scope="session")
def stored():
    return stored_records


@pytest.fixture(params=list(KINDS))
def kind(request):
    """Each kind of store."""
    with KINDS[request.param].in_use() as kind:
        yield kind


@pytest.fixture
def place(tmp_path):
    """Where a store may be made."""
    return tmp_path / "store"


@pytest.fixture
def store(kind, place):
    """An empty store of each kind."""
    store = kind.make(place)
    yield store
    store.close()


@pytest.fixture
def few(monkeypatch):
    """A basis from 6 photos on, of 8 at most."""
    from bases import LEAST, MOST
    from claid_ext.search import fitting

    monkeypatch.setattr(fitting, "LEAST_PHOTOS", LEAST)
    monkeypatch.setattr(fitting, "BASIS_PHOTOS", MOST)
    # A default of the function, taken when it was defined.
    monkeypatch.setattr(fitting.spread, "__defaults__", (MOST,))


@pytest.fixture(name="index")
def two_stage_index(tmp_path, two_stage):
    """An empty index of that small network and a grid of regions."""
    from claid_ext.search import InstanceIndex

    folder = tmp_path / "i"
    with InstanceIndex.create(folder, descriptor=two_stage, regions="grid") as made:
        yield made


@pytest.fixture
def shipped(monkeypatch, two_stage, tmp_path, album):
    """A basis that comes with the package for the small network, fitted on other photos."""
    from claid_ext.search import InstanceIndex, fitting

    with InstanceIndex.create(tmp_path / "of", descriptor=two_stage, regions="full") as other:
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "LEAST_PHOTOS", 3)
            other.add(album(tmp_path / "others", 3, first=90))
        basis = other.basis
    monkeypatch.setattr(fitting, "shipped_basis", lambda network: basis)
    return basis
