"""`claid extract`, `claid load` and `claid search`, with real networks, small and random."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("faiss")

from claid_ext.cli import main
from claid_ext.scale import DataSet
from made import made_photos
from servers import milvus_uri


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Options of a descriptor with random weights from a file, and of fixed boxes."""
    import timm
    import torch

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "test_efficientnet.pth"
    torch.save(timm.create_model("test_efficientnet", num_classes=0).state_dict(), file)
    return ["--regions", "grid", "--descriptor", "test_efficientnet", "--descriptor-weights", file]


@pytest.fixture
def claid(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def untimed(row):
    """A row of a table without its times."""
    return {name: value for name, value in row.items() if "ms" not in re.split("[ /]", name)}


def test_from_photos_to_answers(claid, networks, tmp_path):
    photos = made_photos(tmp_path / "photos", 55, size=48)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no photo")
    extract = ("extract", "photos", "-o", "data", "--workers", 1)
    status, out, err = claid(*extract, *networks)
    assert status == 1
    assert "data: 56 new, 0 changed, 0 known; 1 shards extracted" in out
    assert "1 bad photos" in out
    assert err.strip().endswith("bad.png: not an image in a format that can be read")
    dataset = DataSet("data")
    assert dataset.manifest["basis photos"] == 55
    status, out, err = claid(*extract)
    assert (status, err) == (0, "")
    assert "0 new, 0 changed, 56 known; 0 shards extracted (0.0 photos/s), 1 already there" in out
    status, _, err = claid(*extract, "--regions", "full")
    assert status == 1
    assert "was made with other options: regions name: the index has 'grid', got 'full'" in err

    status, out, _ = claid("load", "data", "--store", "index")
    assert (status, out.startswith("index: 1 shards loaded in")) == (0, True)
    query = ("--box", 4, 4, 30, 30, "-k", 12, "--json")
    status, out, err = claid("search", "index", photos[7], *query)
    assert (status, err) == (0, "")
    results = json.loads(out)["results"]
    assert results[0]["image"] == photos[7]
    assert len(results) == 12

    server = f"milvus:{milvus_uri()}"
    assert claid("load", "data", "--store", server, "--index", "FLAT")[0] == 0
    status, out, err = claid("search", server, photos[7], "--dataset", "data", *query)
    assert (status, err) == (0, "")
    assert json.loads(out)["results"] == [
        {**hit, "score": pytest.approx(hit["score"], abs=1e-6)} for hit in results
    ]
    status, _, err = claid("search", server, photos[7])
    assert (status, "dataset must say where their records are" in err) == (1, True)

    image = {"width": 48, "height": 48, "instances": [{"instance": "a", "box": [4, 4, 30, 30]}]}
    files = [f"photos/{number:05}.png" for number in range(55)]
    references = {"images": [{"file": file, **image} for file in files]}
    queries = [{"query": file, "image": file, "box": [4, 4, 30, 30], "instance": "a",
                "positives": files[i + 1 : i + 3]} for i, file in enumerate(files[:4])]  # fmt: skip
    Path("references.json").write_text(json.dumps(references))
    Path("queries.json").write_text(json.dumps({"queries": queries}))
    rows = []
    for store, more in (("index", ()), (server, ("--dataset", "data"))):
        table = ("eval", "search", "--data", ".", "--json", "table.json", "--index", store)
        status, out, _ = claid(*table, *more)
        assert (status, "grid 1x1..4x4 (test_efficientnet whitened)" in out) == (0, True)
        found = json.loads(Path("table.json").read_text())["rows"]
        assert len(found) == 2  # stage 1 alone, both stages
        rows.append([untimed(row) for row in found])
    assert rows[0] == rows[1]

    assert claid("extract", photos[7], "-o", "data", "--remove")[1] == "data: 1 removed\n"
    for store, more in (("index", ()), (server, ("--dataset", "data"))):
        assert claid("load", "data", "--store", store)[0] == 0
        found = json.loads(claid("search", store, photos[7], *more, *query)[1])["results"]
        assert photos[7] not in [hit["image"] for hit in found]
        assert len(found) == 12


def test_the_page_shows_a_server_as_it_does_a_folder(claid, networks, tmp_path, monkeypatch):
    for module in ("fastapi", "uvicorn", "httpx"):
        pytest.importorskip(module)
    from claid_ext import serve
    from serving import running

    opened, server = [], f"milvus:{milvus_uri()}"
    monkeypatch.setattr(serve, "run_server", lambda opening, **_: opened.append(opening))
    stores = {"index": (), server: ("--dataset", "data")}

    def extract_and_load(first, count):
        made_photos(tmp_path / "photos", count, first=first, size=48)
        assert claid("extract", "photos", "-o", "data", "--workers", 1, *networks)[0] == 0
        for store in stores:
            assert claid("load", "data", "--store", store)[0] == 0

    extract_and_load(0, 6)
    answers = []
    with ExitStack() as stack:
        for store, more in stores.items():
            assert claid("serve", store, *more)[:2] == (0, f"{store}: 6 photos\nstopped\n")
            place = SimpleNamespace(open=opened.pop())
            answers.append(stack.enter_context(running(place, serve.Settings())))
        folder, other = answers
        assert other.json("/api/index")["name"] == server.rpartition("/")[2]
        assert list(other.ids()) == list(folder.ids()) == [f"{i:05}.png" for i in range(6)]
        assert other.json("/api/folders") == folder.json("/api/folders")
        for name in other.ids():
            assert_same_hits(folder, other, name)
            thumbnails = [one.get(f"/api/photos/{one.ids()[name]}/thumbnail") for one in answers]
            assert [one.status_code for one in thumbnails] == [200, 200]
            assert thumbnails[0].content == thumbnails[1].content
        extract_and_load(6, 1)
        assert other.json("/api/index")["photos"] == folder.json("/api/index")["photos"] == 7
        assert_same_hits(folder, other, "00006.png")


def assert_same_hits(one, other, name):
    """Whether a box of a photo is found in the same places by two pages' servers."""
    found = []
    for served in (one, other):
        asked = {"photo": served.ids()[name], "boxes": [[4, 4, 30, 30]], "k": 5}
        found.append(served.search(**asked).raise_for_status().json()["hits"])
    assert len(found[0]) == 5
    names = [[hit["photo"]["name"] for hit in hits] for hits in found]
    assert names[0] == names[1]
    numbers = [[[hit["score"], *hit["box"]] for hit in hits] for hits in found]
    np.testing.assert_allclose(*numbers, atol=1e-5)


def test_wrong_arguments_are_errors_of_one_line(claid, tmp_path):
    made_photos(tmp_path / "photos", 1, size=48)
    for arguments, why in [
        (("extract", "nothing", "-o", "data"), "no such file or folder"),
        (("load", "nothing", "--store", "index"), "is no data set"),
        (("search", "index", "photos/00000.png", "--dataset", "x"), "got the folder index"),
        (("serve", "milvus:http://127.0.0.1:9"), "dataset must say where their records are"),
    ]:
        status, out, err = claid(*arguments)
        assert (status, out) == (1, "")
        assert why in err
        assert err.count("\n") == 1
