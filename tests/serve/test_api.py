"""What the API answers, by a real server on a small index."""

from __future__ import annotations

import io
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("PIL")

from claid_ext.overlap import box_iou
from PIL import Image

THING = [40, 30, 110, 80]
NO_PHOTO = 10**6


def test_the_index_its_folders_and_photos(served):
    place = served.place
    assert served.json("/api/index") == {
        "name": "things", "photos": 6, "regions": 180, "newest": 6, "state": "6-21"
    }  # fmt: skip
    a, b = (str(place.photos / name) for name in "ab")
    assert served.json("/api/folders") == [
        {"folder": a, "label": "photos/a", "photos": 4},
        {"folder": b, "label": "photos/b", "photos": 2},
    ]
    first = served.json("/api/photos", limit=4)
    assert [one["name"] for one in first["photos"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert (first["total"], first["next"]) == (6, 4)
    second = served.json("/api/photos", limit=4, after=4)
    assert [one["name"] for one in second["photos"]] == ["4.png", "5.png"]
    assert second["next"] is None
    assert served.json("/api/photos", folder=b)["total"] == 2
    assert served.json("/api/photos", folder=str(place.photos))["total"] == 6
    assert served.json("/api/photos", folder=a[:-1] + "x")["total"] == 0
    assert served.json("/api/photos", name="3.P")["photos"][0]["name"] == "3.png"
    photo = served.ids()["3.png"]
    assert served.json(f"/api/photos/{photo}") == {
        "id": photo, "name": "3.png", "folder": a, "width": 160, "height": 120
    }  # fmt: skip


def test_regions_are_those_of_the_index_lowest_level_first(served):
    place = served.place
    photo = served.ids()["0.png"]
    got = served.json(f"/api/photos/{photo}/regions")
    levels = [region["level"] for region in got["regions"]]
    assert (got["width"], got["height"], levels) == (160, 120, sorted(levels))
    with place.open() as index, index.store.reading() as view:
        ((_, record),) = view.records(np.array([photo]))
    assert sorted(tuple(region["box"]) for region in got["regions"]) == sorted(
        map(tuple, record.regions.boxes.tolist())
    )


def test_pictures_are_upright_scaled_and_without_metadata(serve, place):
    served = serve()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: 3000 x 1000 is 1000 x 3000 upright
    exif[0x010E] = "secret"
    Image.new("RGB", (3000, 1000), "red").save(place.photos / "turned.jpg", exif=exif)
    place.add("turned.jpg")
    photo = served.ids()["turned.jpg"]
    for path, size in (("image", (683, 2048)), ("thumbnail", (149, 448))):
        response = served.get(f"/api/photos/{photo}/{path}")
        assert response.headers["content-type"] == "image/jpeg"
        picture = Image.open(io.BytesIO(response.content))
        assert picture.size == size
        assert not picture.getexif()
        assert b"secret" not in response.content
        known = {"if-none-match": response.headers["etag"]}
        again = served.get(f"/api/photos/{photo}/{path}", headers=known)
        assert (again.status_code, again.content) == (304, b"")
    Image.new("RGB", (300, 100), "blue").save(place.photos / "turned.jpg")
    changed = served.get(f"/api/photos/{photo}/thumbnail", headers=known)
    assert Image.open(io.BytesIO(changed.content)).getpixel((5, 5))[2] > 200


def test_a_search_gives_what_the_index_finds(served):
    """Best first, without the query's own photo unless it is asked for."""
    place = served.place
    ids = served.ids()
    answer = served.search(photo=ids["1.png"], boxes=[THING], k=4).json()
    with place.open() as index:
        others = [path for path in index.images if not path.endswith("1.png")]
        query = (str(place.photos / "a" / "1.png"), THING)
        expected = index.search(query, 4, images=others)[0]
    got = [(hit["photo"]["id"], hit["score"], hit["box"]) for hit in answer["hits"]]
    names = [path.image.rpartition("/")[2] for path in expected]
    assert [photo for photo, _, _ in got] == [ids[name] for name in names]
    for (_, score, box), hit in zip(got, expected, strict=True):
        assert score == pytest.approx(hit.score, abs=1e-5)
        assert box == pytest.approx(hit.box, abs=1e-3)
    assert answer["state"] == served.json("/api/index")["state"]
    assert set(answer["seconds"]) == {"query", "stage 1", "stage 2"}
    whole = served.search(photo=ids["1.png"], boxes=[THING], with_itself=True).json()["hits"]
    assert (len(whole), whole[0]["photo"]["id"]) == (6, ids["1.png"])
    assert box_iou([whole[0]["box"]], [(44, 30, 110, 80)])[0, 0] >= 0.5


def test_filters(served):
    place = served.place
    ids = served.ids()
    asked = {"photo": ids["1.png"], "boxes": [THING]}
    hits = served.search(**asked).json()["hits"]
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert len(served.search(**asked, k=2).json()["hits"]) == 2
    folder = str(place.photos / "b")
    inside = served.search(**asked, folder=folder).json()["hits"]
    assert {hit["photo"]["name"] for hit in inside} == {"4.png", "5.png"}
    above = served.search(**asked, min_score=scores[2]).json()["hits"]
    assert [hit["score"] for hit in above] == scores[:3]


def test_all_of_several_boxes_has_each_of_them(served):
    boxes = [THING, [0, 0, 40, 40]]
    (hit,) = served.search(photo=1, boxes=boxes, all_of=True, k=1).json()["hits"]
    assert len(hit["parts"]) == 2
    assert hit["score"] == pytest.approx(sum(part["score"] for part in hit["parts"]))
    (hit,) = served.search(photo=1, boxes=boxes, k=1).json()["hits"]
    assert hit["parts"] == []


def test_an_upload_is_searched_with(served):
    place = served.place
    content = (place.photos / "a" / "2.png").read_bytes()
    sent = served.upload(content)
    assert sent.status_code == 200
    upload = sent.json()["upload"]
    assert sent.json() == served.json(f"/api/uploads/{upload}")
    assert (sent.json()["width"], sent.json()["height"]) == (160, 120)
    picture = served.get(f"/api/uploads/{upload}/image")
    assert Image.open(io.BytesIO(picture.content)).size == (160, 120)
    assert picture.headers["cache-control"] == "no-store"
    assert len(served.json(f"/api/uploads/{upload}/regions")["regions"]) == 30
    hits = served.search(upload=upload, boxes=[THING], k=3).json()["hits"]
    assert hits[0]["photo"]["name"] == "2.png"
    assert box_iou([hits[0]["box"]], [(48, 30, 110, 80)])[0, 0] >= 0.5


def test_uploads_are_kept_in_memory_alone_and_only_as_they_fit(serve, place, tmp_path):
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    served = serve(uploads_bytes=100_000)
    names = []
    for seed in range(6):
        content = (place.photos / ("a" if seed < 4 else "b") / f"{seed}.png").read_bytes()
        assert len(content) > 30_000
        names.append(served.upload(content).json()["upload"])
        assert served.search(upload=names[-1], boxes=[THING]).status_code == 200
    there = [served.get(f"/api/uploads/{name}").status_code for name in names]
    assert there == [404, 404, 404, 404, 200, 200]
    gone = served.search(upload=names[0], boxes=[[1, 2, 30, 40]])
    assert gone.status_code == 404
    assert "send it again" in gone.json()["error"]
    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in after - before} <= {"records.sqlite-shm", "records.sqlite-wal"}


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({}, "give either photo or upload"),
        ({"photo": 1, "upload": "0" * 64}, "give either photo or upload"),
        ({"photo": "../../etc/passwd"}, "photo: "),
        ({"photo": -1}, "photo: "),
        ({"upload": "/etc/passwd"}, "upload: "),
        ({"photo": 1, "boxes": [[1, 2, 3]]}, "boxes.0.3: "),
        ({"photo": 1, "boxes": [[1, 2, 3, "x"]]}, "boxes.0.3: "),
        ({"photo": 1, "boxes": [[500, 2, 900, 50]]}, "outside the image of 160 x 120 pixels"),
        ({"photo": 1, "boxes": [[50, 2, 50, 50]]}, "is empty"),
        ({"photo": 1, "boxes": [THING] * 17}, "boxes: "),
        ({"photo": 1, "k": 0}, "k: "),
        ({"photo": 1, "k": 10**9}, "k: "),
        ({"photo": 1, "min_size": -1}, "min_size: "),
        ({"photo": 1, "path": "/etc/passwd"}, "path: "),
    ],
)
def test_wrong_arguments_are_named(served, asked, what):
    response = served.search(**asked)
    assert response.status_code == 422
    assert set(response.json()) == {"error"}
    assert what in response.json()["error"]


def test_numbers_that_are_none(served):
    for text in ("NaN", "Infinity", "1e999"):
        content = f'{{"photo": 1, "boxes": [[0, 0, 50, {text}]]}}'
        headers = {"content-type": "application/json"}
        response = served.client.post("/api/search", content=content, headers=headers)
        assert response.status_code == 422
        assert "boxes.0.3" in response.json()["error"]


def test_what_is_not_there(served):
    for path in (
        f"/api/photos/{NO_PHOTO}",
        f"/api/photos/{NO_PHOTO}/image",
        f"/api/photos/{NO_PHOTO}/thumbnail",
        f"/api/photos/{NO_PHOTO}/regions",
        f"/api/uploads/{'0' * 64}",
        f"/api/uploads/{'0' * 64}/regions",
        "/api/nothing",
        "/nothing",
    ):
        response = served.get(path)
        assert response.status_code == 404, path
        assert set(response.json()) == {"error"}
    assert served.search(photo=NO_PHOTO).status_code == 404


def test_a_photo_whose_file_is_gone(serve, place):
    served = serve()
    photo = served.ids()["2.png"]
    asked = {"photo": photo, "boxes": [THING]}
    (place.photos / "a" / "2.png").unlink()
    for path in ("image", "thumbnail"):
        response = served.get(f"/api/photos/{photo}/{path}")
        assert response.status_code == 410
        assert "its file is gone" in response.json()["error"]
    assert served.search(**asked).status_code == 410
    found = served.search(photo=1, boxes=[THING]).json()["hits"]
    assert photo in {hit["photo"]["id"] for hit in found}  # its record is still there


def test_the_server_sees_what_is_added_and_removed_meanwhile(serve, place):
    served = serve()
    first = served.ids()["0.png"]
    asked = {"photo": first, "boxes": [THING]}
    before = served.search(**asked).json()
    assert len(before["hits"]) == 5
    Image.open(place.photos / "a" / "0.png").save(place.photos / "new.png")
    place.add("new.png")
    after = served.search(**asked).json()
    assert "new.png" in {hit["photo"]["name"] for hit in after["hits"]}
    assert after["state"] != before["state"]
    with place.open() as index:
        index.remove(place.photos / "a" / "0.png")
    assert served.search(**asked).status_code == 404
    assert served.get(f"/api/photos/{first}/image").status_code == 404
    assert served.json("/api/index")["photos"] == 6


@pytest.fixture
def described(monkeypatch):
    """What is described while the test runs."""
    from claid_ext.search import searcher

    queries, prepare = [], searcher.prepare
    monkeypatch.setattr(
        searcher, "prepare", lambda query, *more: queries.append(query) or prepare(query, *more)
    )
    return queries


def test_a_query_is_described_once(served, described):
    asked = {"photo": 1, "boxes": [[3, 4, 50, 60]]}
    for more in ({}, {"k": 5}, {"folder": "/"}):
        assert served.search(**asked, **more).status_code == 200
    assert len(described) == 1
    served.search(**asked | {"boxes": [[3, 4, 50, 61]]})
    assert len(described) == 2


def test_a_query_is_described_again_after_a_refit(served, described, monkeypatch):
    from claid_ext.errors import BasisChangedError
    from claid_ext.search.searcher import Searcher

    search, calls = Searcher.search, []

    def refitted(self, *given, **more):
        calls.append(given)
        if len(calls) == 1:
            raise BasisChangedError("the index's basis has changed")
        return search(self, *given, **more)

    monkeypatch.setattr(Searcher, "search", refitted)
    assert served.search(photo=1, boxes=[[1, 2, 30, 40]]).status_code == 200
    assert len(described) == 2


def test_more_than_may_wait_are_refused_and_the_others_answered(serve, monkeypatch):
    from claid_ext.search.searcher import Searcher

    served = serve(searches=1, waiting=2)
    asked = {"photo": 1, "boxes": [THING]}
    assert served.search(**asked).status_code == 200  # so that it is described already
    gate, search, answers = threading.Event(), Searcher.search, []

    def held(self, *given, **more):
        assert gate.wait(300)
        return search(self, *given, **more)

    monkeypatch.setattr(Searcher, "search", held)
    threads = [
        threading.Thread(target=lambda: answers.append(served.search(**asked))) for _ in range(9)
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 300
    while len(answers) < 6 and time.monotonic() < until:
        time.sleep(0.02)
    assert [answer.status_code for answer in answers] == [503] * 6
    assert served.get("/api/photos/1/thumbnail").status_code == 200  # lists and pictures go on
    gate.set()
    for thread in threads:
        thread.join(300)
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 6
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "2"
    assert "too many requests" in refused.json()["error"]


def test_the_description_is_complete_and_from_here(served):
    """Every route, what it takes and gives; the page about it loads nothing from elsewhere."""
    api = served.json("/api/openapi.json")
    assert set(api["paths"]) == {
        "/api/index", "/api/folders", "/api/search",
        "/api/photos", "/api/photos/{photo}", "/api/photos/{photo}/regions",
        "/api/photos/{photo}/image", "/api/photos/{photo}/thumbnail",
        "/api/uploads", "/api/uploads/{upload}", "/api/uploads/{upload}/regions",
        "/api/uploads/{upload}/image",
    }  # fmt: skip
    for operations in api["paths"].values():
        for operation in operations.values():
            assert operation["description"]
            for status, response in operation["responses"].items():
                if status >= "400":
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}
    assert "HTTPValidationError" not in json.dumps(api)
    for path in ("/", "/docs"):
        page = served.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert "//" not in page.text.replace("<!doctype html>", "")
