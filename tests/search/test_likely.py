"""Is the thing there at all: the numbers by hand, when nothing is said, and real photos."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("faiss")
from claid_ext.cli import main
from claid_ext.descriptors.shipped import shipped_basis
from claid_ext.images import load_image
from claid_ext.search import Hit, InstanceIndex, Query, finding, fitting, report
from claid_ext.search.likely import LEAST_PHOTOS, Calibration, calibration_of
from PIL import Image

MADE = Calibration(core=2.0, margin=5.0, intercept=-3.0, threshold=0.5)


def by_hand(scores, cores, best):
    """One box: scores above the quartile of the best ones, and cores, by the logistic function."""
    above = np.array(scores) - np.quantile(best, 0.25)
    return 1 / (1 + np.exp(3.0 - 2.0 * np.array(cores) - 5.0 * above))


def test_the_numbers():
    rng = np.random.default_rng(0)
    scores, cores = rng.uniform(0, 2, (40, 2)), rng.uniform(0, 1.5, (40, 2))
    for searched, judging in ((1000, 30), (60, 30), (59, 29), (40, 20), (9, 4), (1, 1)):
        (one,) = MADE.judge(scores[:, :1], cores[:, :1], searched).T
        best = scores[:judging, 0]
        np.testing.assert_allclose(one, by_hand(scores[:, 0], cores[:, 0], best))
    each = MADE.judge(scores, cores, 99, all_of=True)
    for box in range(2):
        wanted = by_hand(scores[:, box], cores[:, box], scores[:30, box])
        np.testing.assert_allclose(each[:, box], wanted)
    either = MADE.judge(scores, cores, 99)
    own = np.take_along_axis(cores, scores.argmax(axis=1)[:, None], axis=1)[:, 0]
    for box in range(2):
        wanted = by_hand(scores.max(axis=1), own, scores[:30].max(axis=1))
        np.testing.assert_allclose(either[:, box], wanted)


@pytest.mark.parametrize("count", [0, 1, LEAST_PHOTOS - 1, LEAST_PHOTOS])
def test_too_few_photos_say_nothing(count):
    judged = MADE.judge(np.ones((count, 1)), np.ones((count, 1)), count)
    assert (judged is None) == (count < LEAST_PHOTOS)


def test_what_is_shipped():
    """It is for the network whose basis is shipped, more of either number is more probable."""
    content = json.loads((files("claid_ext.search") / "data" / "likely.json").read_text())
    (one,) = content["calibrations"]
    made = calibration_of(one["network_sha256"])
    assert shipped_basis(one["network_sha256"]) is not None
    assert made.core > 0
    assert made.margin > 0
    assert 0 < made.threshold < 1
    assert calibration_of("") is None
    assert calibration_of("0" * 64) is None
    assert one["provenance"]["least_photos"] == LEAST_PHOTOS
    measured = one["provenance"]["measured_by_a_fit_to_the_other_set"]
    for name, recall, area in (("search", 0.7, 0.95), ("search_composite", 0.35, 0.85)):
        assert measured[name]["precision at 0.5"][0] >= 0.9
        assert measured[name]["recall at 0.5"][0] >= recall
        assert measured[name]["AUC"][0] >= area


@pytest.fixture
def made_index(tmp_path, album, two_stage, monkeypatch):
    """Twelve photos with a basis of their own, and MADE's numbers for their network."""
    monkeypatch.setattr(fitting, "LEAST_PHOTOS", 8)
    monkeypatch.setattr(finding, "calibration_of", lambda _: MADE)
    paths = album(tmp_path / "photos", 12, size=(200, 144))
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        index.add(paths)
        yield index


BOXES = [(10, 10, 80, 90), (100, 40, 190, 130)]


def test_hits_carry_it(made_index):
    image = made_index.images[3]
    hits = made_index.search((image, BOXES[0]), 12)[0]
    scores = np.array([hit.score for hit in hits])
    cores = 1.5 * (scores - [hit.similarity for hit in hits])
    best = sorted(hits, key=lambda hit: -hit.similarity)[:6]  # half of the photos, of stage 1
    wanted = by_hand(scores, cores, [hit.score for hit in best])
    np.testing.assert_allclose([hit.probability for hit in hits], wanted, rtol=1e-5)
    for hit in hits:
        assert hit.likely is (hit.probability >= 0.5)
        assert isinstance(hit.probability, float)
    # The best of several views, and all of different things.
    either = made_index.search(Query(image, BOXES), 12)[0]
    assert either[0].probability == pytest.approx(max(h.probability for h in either))
    both = made_index.search(Query(image, BOXES, all_of=True), 12)[0]
    for hit in both:
        product = np.prod([part.probability for part in hit.parts])
        assert hit.probability == pytest.approx(product)
        assert hit.likely is bool(product >= 0.5)
        for part in hit.parts:
            assert part.likely is (part.probability >= 0.5)
    for box in range(2):
        scores = np.array([hit.parts[box].score for hit in both])
        cores = 1.5 * (scores - [hit.parts[box].similarity for hit in both])
        best = sorted(both, key=lambda hit: -hit.similarity)[:6]
        wanted = by_hand(scores, cores, [hit.parts[box].score for hit in best])
        told = [hit.parts[box].probability for hit in both]
        np.testing.assert_allclose(told, wanted, rtol=1e-5)


def test_only_refined_photos_carry_it(made_index):
    query = (made_index.images[3], BOXES[0])
    hits = made_index.search(query, 12, refine=9)[0]
    assert [hit.probability is None for hit in hits] == [False] * 9 + [True] * 3
    assert [hit.likely is None for hit in hits] == [False] * 9 + [True] * 3
    for options in ({"refine": 7}, {"refine": 0}, {"images": made_index.images[:7]}):
        assert {hit.likely for hit in made_index.search(query, 12, **options)[0]} == {None}
    vectors = made_index.describe([query])[0]
    assert made_index.search_vectors([(vectors, False)], 3)[0][0].likely is None


def test_another_network_says_nothing(tmp_path, album, two_stage):
    paths = album(tmp_path / "photos", 12, size=(200, 144))
    with InstanceIndex.create(tmp_path / "i", descriptor=two_stage, regions="grid") as index:
        index.add(paths)
        for hit in index.search((paths[0], BOXES[0]), 12)[0]:
            assert (hit.probability, hit.likely) == (None, None)


def test_reports_say_it(tmp_path):
    Image.new("RGB", (60, 40), "red").save(tmp_path / "a.png")
    plain = Hit(str(tmp_path / "a.png"), (1, 1, 20, 20), 1.5, 1)
    likely = replace(plain, probability=0.93, likely=True)
    unlikely = replace(plain, probability=0.07, likely=False)
    query = Query(tmp_path / "a.png")
    page = report.html_report(query, [likely, unlikely])
    assert "1: 1.500, 93% likely" in page
    assert "2: 1.500, 7% (unlikely)" in page
    assert report.NOT_HERE not in page
    for hits, said in (([unlikely], True), ([], True), ([unlikely, plain], True), ([plain], False)):
        assert (report.NOT_HERE in report.html_report(query, hits)) == said
    sheets = [np.asarray(report.contact_sheet(query, [one])) for one in (plain, likely, unlikely)]
    assert not np.array_equal(sheets[0], sheets[1])
    assert not np.array_equal(sheets[1], sheets[2])


@pytest.fixture(scope="module")
def real(tmp_path_factory, real_detector, real_descriptor):
    """An index of nine photos of scikit-image, into two of which a cup is pasted; the query."""
    from claid_ext.weights import package_file

    def photo(name):
        return load_image(package_file("scikit-image", f"skimage/data/{name}"))

    folder = tmp_path_factory.mktemp("real")
    box = (80, 18, 478, 388)
    names = ("astronaut.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png", "brick.png")
    names += ("hubble_deep_field.jpg", "ihc.png", "grass.png", "coins.png", "gravel.png")
    cup = photo("coffee.png").crop(box)
    paths = []
    for name in names:
        picture = photo(name)
        if name in {"chelsea.png", "rocket.jpg"}:
            picture.paste(cup.resize((200, 186)), (60, 60))
        paths.append(folder / f"{'cup' if len(paths) in {1, 2} else 'none'}-{Path(name).stem}.png")
        picture.save(paths[-1])
    photo("coffee.png").save(folder / "query.png")
    made = {"detector": real_detector, "descriptor": real_descriptor}
    with InstanceIndex.create(folder / "i", **made) as index:
        assert index.add(paths).failed == []
    return folder / "i", folder / "query.png", box


def test_a_thing_that_is_there_and_the_same_where_it_is_not(real, real_descriptor):
    path, query, box = real
    with InstanceIndex.open(path, descriptor=real_descriptor) as index:
        hits = index.search((query, box))[0]
        assert sorted(Path(h.image).stem for h in hits if h.likely) == ["cup-chelsea", "cup-rocket"]
        nowhere = index.search((query, box), images="*/none-*")[0]
        assert len(nowhere) == 8
        assert [hit.likely for hit in nowhere] == [False] * 8
        assert max(hit.probability for hit in nowhere) < min(h.probability for h in hits[:2])


def test_on_the_command_line(real, capsys, tmp_path):
    index, query, box = real
    asked = ["search", str(index), str(query), "--box", *map(str, box), "--likely"]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("/")[2].partition("-")[0] for line in lines] == ["cup", "cup"]
    assert all("%" in line for line in lines)
    page = tmp_path / "page.html"
    assert main([*asked, "--images", "*/none-*", "--html", str(page)]) == 0
    assert capsys.readouterr().out == "probably not in these photos\n"
    assert report.NOT_HERE in page.read_text(encoding="utf-8")
    assert main([*asked, "--images", "*/nothing"]) == 0
    assert "holds no image in scope" in capsys.readouterr().out
    assert main([*asked, "--json", "--images", "*/none-*"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == []
    assert main([*asked, "--json"]) == 0
    assert [hit["likely"] for hit in json.loads(capsys.readouterr().out)["results"]] == [True] * 2
    assert main([*asked, "--refine", "0"]) == 1
    assert "says of no image whether it is likely" in capsys.readouterr().err
