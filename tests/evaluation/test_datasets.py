"""Every search loader on a small folder in its set's layout, and what it says of a wrong one."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from claid_ext.evaluation import SearchQuery, SearchSet, load_search

INSTRE = {
    "imlist": ["INSTRE-S1/01a/001.jpg", "INSTRE-S1/01a/002.jpg", "INSTRE-M/01/001.jpg"],
    "qimlist": ["INSTRE-S1/01a/009.jpg", "INSTRE-M/01/009.jpg"],
    "gnd": [{"ok": [1, 2, 3], "bbx": [1, 2, 3, 4]}, {"ok": [2, 3], "bbx": [0, 0, 9, 9]}],
}
BOXES = {
    "INSTRE-S1/01a/001.txt": "10 20 30 40\n",
    "INSTRE-S1/01a/002.txt": "1 1 2 2\r\n5 5 5 5\r\n",
    "INSTRE-M/01/001.txt": "0 0 10 10\n20 5 10 10\n",
}


@pytest.fixture
def instre(tmp_path: Path, make_files, write_json) -> Path:
    make_files(tmp_path, *INSTRE["imlist"], *INSTRE["qimlist"])
    for name, text in BOXES.items():
        (tmp_path / name).write_text(text)
    write_json(tmp_path / "gnd_instre.json", INSTRE)
    return tmp_path


def check_instre(found: SearchSet, root: Path) -> None:
    first, both = found.queries
    assert found.images == tuple(root / name for name in INSTRE["imlist"])
    assert first.image == root / "INSTRE-S1/01a/009.jpg"
    assert first.boxes.tolist() == [[1, 2, 3, 4]]
    assert first.positives.tolist() == [0, 1, 2], "ok counts from 1"
    assert both.positives.tolist() == [1, 2]


def test_instre_counts_from_one(instre: Path) -> None:
    found = load_search("instre", instre)
    check_instre(found, instre)
    assert found.localised
    truths = [truth.tolist() for truth in found.queries[0].truths]
    assert truths == [
        [[10, 20, 40, 60]],
        [[1, 1, 3, 3], [5, 5, 10, 10]],
        [[0, 0, 10, 10], [20, 5, 30, 15]],
    ]
    assert found.queries[1].truths[0].tolist() == truths[1], "one thing, twice in the picture"
    assert found.queries[1].truths[1].tolist() == [[0, 0, 30, 15]], "both things together"
    found.check_files()


def test_instre_m_keeps_the_whole_database(instre: Path) -> None:
    found = load_search("instre-m", instre)
    assert found.name == "INSTRE-M"
    assert [query.name for query in found.queries] == ["INSTRE-M/01/009.jpg"]
    assert len(found.images) == 3


def test_instre_without_box_files_says_nothing_of_places(instre: Path) -> None:
    (instre / "INSTRE-S1/01a/002.txt").unlink()
    found = load_search("instre", instre)
    assert not found.localised
    with pytest.raises(ValueError, match="does not say where"):
        found.queries[0].overlaps([0], [[0, 0, 1, 1]])


def test_instre_from_a_pickle(instre: Path) -> None:
    (instre / "gnd_instre.json").unlink()
    entries = [{"ok": np.array(g["ok"]), "bbx": np.array(g["bbx"], float)} for g in INSTRE["gnd"]]
    (instre / "gnd_instre.pkl").write_bytes(pickle.dumps({**INSTRE, "gnd": entries}))
    check_instre(load_search("instre", instre), instre)


def test_instre_from_matlab(instre: Path) -> None:
    io = pytest.importorskip("scipy.io")
    (instre / "gnd_instre.json").unlink()
    entries = np.zeros((1, 2), dtype=[("ok", object), ("bbx", object)])
    for place, entry in enumerate(INSTRE["gnd"]):
        entries[0, place] = (np.array(entry["ok"], dtype=np.uint16)[None], np.array(entry["bbx"]))
    names = {
        key: np.array(INSTRE[key], dtype=object).reshape(1, -1) for key in ("imlist", "qimlist")
    }
    io.savemat(instre / "gnd_instre.mat", {**names, "gnd": entries})
    check_instre(load_search("instre", instre), instre)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "pwned").touch, ())

    (tmp_path / "gnd_instre.pkl").write_bytes(pickle.dumps({"gnd": Evil()}))
    with pytest.raises(ValueError, match="not plain data"):
        load_search("instre", tmp_path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("bad", [[0, 1], [4], [-1]])
def test_instre_lists_that_do_not_count_from_one(instre: Path, write_json, bad) -> None:
    gnd = [{"ok": bad, "bbx": [1, 2, 3, 4]}, INSTRE["gnd"][1]]
    write_json(instre / "gnd_instre.json", {**INSTRE, "gnd": gnd})
    with pytest.raises(ValueError, match="ok: wanted numbers from 1 to 3"):
        load_search("instre", instre)


def test_holidays(tmp_path: Path, make_files) -> None:
    make_files(
        tmp_path / "jpg", "100000.jpg", "100001.jpg", "100002.jpg", "100100.jpg", "100101.jpg"
    )
    found = load_search("holidays", tmp_path)
    assert [image.name for image in found.images] == sorted(p.name for p in tmp_path.glob("jpg/*"))
    assert [query.name for query in found.queries] == ["100000", "100100"]
    assert [query.positives.tolist() for query in found.queries] == [[1, 2], [4]]
    assert [query.junk.tolist() for query in found.queries] == [[0], [3]], "not its own answer"
    assert all(query.boxes is None for query in found.queries)
    make_files(tmp_path / "jpg", "100201.jpg")
    with pytest.raises(ValueError, match=r"group 1002 has no query 100200.jpg"):
        load_search("holidays", tmp_path)
    make_files(tmp_path / "jpg", "cat.jpg")
    with pytest.raises(ValueError, match=r"wanted images named like 100000.jpg, got cat"):
        load_search("holidays", tmp_path)


@pytest.fixture
def oxford(tmp_path: Path, make_files) -> Path:
    names = [f"all_souls_00000{i}" for i in range(4)]
    make_files(tmp_path / "jpg", *(f"{name}.jpg" for name in names))
    lists = {"good": names[:1], "ok": names[1:2], "junk": names[2:3]}
    (tmp_path / "gt").mkdir()
    for kind, stems in lists.items():
        (tmp_path / f"gt/all_souls_1_{kind}.txt").write_text("".join(f"{s}\n" for s in stems))
    (tmp_path / "gt/all_souls_1_query.txt").write_text(f"oxc1_{names[0]} 1.5 2.5 30 40\n")
    return tmp_path


def test_oxford_classic(oxford: Path) -> None:
    found = load_search("oxford5k", oxford)
    (query,) = found.queries
    assert query.name == "all_souls_1"
    assert query.image == oxford / "jpg/all_souls_000000.jpg"
    assert query.boxes.tolist() == [[1.5, 2.5, 30, 40]]
    assert (query.positives.tolist(), query.junk.tolist()) == ([0, 1], [2])
    assert len(found.images) == 4


def test_paris_has_folders_and_no_prefix(tmp_path: Path, make_files) -> None:
    make_files(tmp_path / "jpg/defense", "paris_defense_000605.jpg", "paris_defense_000001.jpg")
    (tmp_path / "gt").mkdir()
    for kind, text in {"good": "paris_defense_000001\n", "ok": "", "junk": ""}.items():
        (tmp_path / f"gt/defense_1_{kind}.txt").write_text(text)
    (tmp_path / "gt/defense_1_query.txt").write_text("paris_defense_000605 0 0 9 9\n")
    found = load_search("paris6k", tmp_path)
    assert found.name == "Paris6k"
    assert found.queries[0].positives.tolist() == [0]
    assert found.queries[0].image.name == "paris_defense_000605.jpg"


def test_oxford_wrong_layouts(oxford: Path) -> None:
    (oxford / "gt/all_souls_1_ok.txt").write_text("nowhere_000001\n")
    with pytest.raises(ValueError, match="no image nowhere_000001 in the database"):
        load_search("oxford5k", oxford)
    (oxford / "gt/all_souls_1_ok.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"all_souls_1_ok.txt: no such file"):
        load_search("oxford5k", oxford)
    (oxford / "gt/all_souls_1_query.txt").write_text("oxc1_all_souls_000000 1 2 3\n")
    with pytest.raises(ValueError, match="wanted one line: name x0 y0 x1 y1"):
        load_search("oxford5k", oxford)
    (oxford / "gt/all_souls_1_query.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \*_query.txt there"):
        load_search("oxford5k", oxford)


REVISITED = {
    "imlist": ["a", "b", "c", "d"],
    "qimlist": ["q"],
    "gnd": [{"bbx": [1.5, 2, 3, 4], "easy": [0], "hard": [3], "junk": [2]}],
}


@pytest.mark.parametrize("kind", ["json", "pkl"])
def test_revisited_counts_from_zero(tmp_path: Path, make_files, write_json, kind: str) -> None:
    make_files(tmp_path / "jpg", *(f"{stem}.jpg" for stem in "abcdq"))
    if kind == "json":
        write_json(tmp_path / "gnd_roxford5k.json", REVISITED)
    else:
        (tmp_path / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(REVISITED))
    expected = {"easy": ([0], [2, 3]), "medium": ([0, 3], [2]), "hard": ([3], [0, 2])}
    for protocol, sides in expected.items():
        found = load_search(f"roxford5k-{protocol}", tmp_path)
        (query,) = found.queries
        assert (query.positives.tolist(), query.junk.tolist()) == sides
        assert query.boxes.tolist() == [[1.5, 2, 3, 4]]
        assert [image.stem for image in found.images] == ["a", "b", "c", "d"]
        found.check_files()


def test_missing_pictures_are_counted(tmp_path: Path, make_files, write_json) -> None:
    write_json(tmp_path / "gnd_roxford5k.json", REVISITED)
    make_files(tmp_path / "jpg", "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"4 images missing: .*b.jpg, .*d.jpg|4 images"):
        load_search("roxford5k-easy", tmp_path).check_files()


@pytest.fixture
def folder(tmp_path: Path, make_files, write_json) -> Path:
    make_files(tmp_path / "set", "refs/a.jpg", "refs/b.jpg", "queries/q.jpg")
    make_files(tmp_path, "other/d.jpg")
    write_json(
        tmp_path / "set/queries.json",
        {
            "queries": [
                {"query": "cup", "image": "queries/q.jpg", "box": [1, 2, 3, 4], "instance": "cup",
                 "positives": ["refs/b.jpg", "refs/a.jpg"]},
                {"query": "self", "image": "refs/a.jpg", "instance": "cup",
                 "positives": ["refs/b.jpg"]},
            ]
        },
    )  # fmt: skip
    images = [
        {"file": f"refs/{stem}.jpg", "width": 20, "height": 10, "instances": instances}
        for stem, instances in {
            "a": [{"instance": "hat", "box": [9, 9, 10, 10]},
                  {"instance": "cup", "box": [0, 0, 4, 4]}],
            "b": [{"instance": "cup", "box": [2, 2, 6, 6]}],
        }.items()
    ]  # fmt: skip
    write_json(tmp_path / "set/references.json", {"images": images})
    distractor = {"file": "../other/d.jpg", "width": 20, "height": 10, "instances": []}
    write_json(tmp_path / "set/distractors.json", {"images": [distractor]})
    return tmp_path / "set"


def test_folder(folder: Path) -> None:
    found = load_search("folder", folder)
    cup, itself = found.queries
    assert found.name == "set"
    assert [str(path.relative_to(folder.parent)) for path in found.images] == [
        "set/refs/a.jpg", "set/refs/b.jpg", "other/d.jpg",
    ]  # fmt: skip
    assert cup.boxes.tolist() == [[1, 2, 3, 4]]
    assert cup.positives.tolist() == [0, 1]
    assert [truth.tolist() for truth in cup.truths] == [[[0, 0, 4, 4]], [[2, 2, 6, 6]]]
    assert itself.boxes is None
    assert itself.junk.tolist() == [0], "its own picture is in the database"
    found.check_files()
    assert load_search("instance160", folder).name == "Instance-160"


def test_overlaps_with_the_truth(folder: Path) -> None:
    cup = load_search("folder", folder).queries[0]
    boxes = [[2, 2, 6, 6], [0, 0, 9, 9], [0, 0, 4, 2]]
    assert cup.overlaps([1, 2, 0], boxes).tolist() == [1.0, 0.0, 0.5]


def test_folder_wrong_layouts(folder: Path, write_json) -> None:
    write_json(folder / "distractors.json", {"images": [{"file": "refs/a.jpg"}]})
    with pytest.raises(ValueError, match=r"a.jpg is there more than once"):
        load_search("folder", folder)
    (folder / "distractors.json").unlink()
    bad = [{"query": "x", "image": "queries/q.jpg", "positives": ["refs/z.jpg"]}]
    write_json(folder / "queries.json", {"queries": bad})
    with pytest.raises(ValueError, match=r"query x: refs/z.jpg is not in the database"):
        load_search("folder", folder)
    write_json(folder / "queries.json", {"queries": [{"query": "x"}]})
    with pytest.raises(ValueError, match="wanted the key 'image' in query x"):
        load_search("folder", folder)
    (folder / "queries.json").write_text("{nope")
    with pytest.raises(ValueError, match=r"queries.json: not a JSON file"):
        load_search("folder", folder)
    (folder / "queries.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no queries.json there: looked for"):
        load_search("folder", folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_search("folder", folder / "nowhere")
    with pytest.raises(ValueError, match="search set: wanted one of instance160"):
        load_search("imagenet", folder)


def test_sets_check_their_numbers(tmp_path: Path) -> None:
    query = SearchQuery("x", tmp_path / "q.jpg", None, np.array([5]))
    with pytest.raises(ValueError, match="set: query x: positives names image 5 of 1"):
        SearchSet("set", (tmp_path / "a.jpg",), (query,))
    with pytest.raises(ValueError, match="both a positive and junk"):
        SearchQuery("x", tmp_path / "q.jpg", None, np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match="in the database twice"):
        SearchSet("set", (tmp_path / "a.jpg",) * 2, ())


def test_instre_ground_truth_at_full_size(shared_data: Path) -> None:
    found = load_search("instre", shared_data / "gnd")
    assert (len(found.images), len(found.queries)) == (27293, 1250)
    assert len(load_search("instre-m", shared_data / "gnd").queries) == 250
    named = np.unique(np.concatenate([query.positives for query in found.queries]))
    assert (named[0], named[-1], len(named)) == (0, 27292, 27293), "counts from 1, read from 0"
    # Off by one, the first picture of a folder would be missing and the next folder's be there.
    first: dict[Path, int] = {}
    for number, image in enumerate(found.images):
        first.setdefault(image.parent, number)
    for query in found.queries:
        assert first[query.image.parent] in query.positives
        folders = {found.images[number].parent for number in query.positives.tolist()}
        pair = "INSTRE-M" in query.image.parts
        assert len(folders) <= (3 if pair else 2), "its own, and the pair's or the pair of"


@pytest.mark.parametrize(("name", "images"), [("roxford5k", 4993), ("rparis6k", 6322)])
def test_revisited_ground_truth_at_full_size(shared_data: Path, name: str, images: int) -> None:
    sets = [load_search(f"{name}-{p}", shared_data / "gnd") for p in ("easy", "medium", "hard")]
    for found in sets:
        assert (len(found.images), len(found.queries)) == (images, 70)
        assert found.queries[0].image.stem == "all_souls_000013" or name == "rparis6k"
    for easy, medium, hard in zip(*(found.queries for found in sets), strict=True):
        assert np.array_equal(np.union1d(easy.positives, hard.positives), medium.positives)
        assert np.array_equal(np.setdiff1d(easy.junk, hard.positives), medium.junk)


def test_real_folders(shared_data: Path) -> None:
    for name, queries, images in (("search", 26, 329), ("search_composite", 10, 65)):
        found = load_search("folder", shared_data / name)
        found.check_files()
        assert (len(found.queries), len(found.images)) == (queries, images)
        assert found.localised
