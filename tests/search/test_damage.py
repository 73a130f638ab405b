"""Files of an index that have been changed: an error, or the answer of before, never another."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("faiss")

from claid_ext.errors import DamagedRecordError, InvalidIndexError
from claid_ext.index import EmbeddedStore
from claid_ext.index.ranking import Scope, VectorQuery, rank_images
from claid_ext.index.sqlite import RecordFile
from claid_ext.record import maps_to_bytes
from stores import KINDS, asked, entry

NOTICED = (DamagedRecordError, InvalidIndexError)
IMAGES = 30
FLIPS = 80
FACTORY = "flat with a base"


@pytest.fixture(scope="module")
def kind():
    with KINDS[FACTORY].in_use() as kind:
        yield kind


@pytest.fixture(scope="module")
def sound(kind, tmp_path_factory):
    """An index with a base, images behind it, replaced ones and removed ones, and what it says."""
    folder = tmp_path_factory.mktemp("damage") / "sound"
    store = kind.make(folder)
    store.upsert([entry(i) for i in range(IMAGES)])
    store.settle(whole=True)
    store.delete_images(["/i/3", "/i/20"])
    store.upsert([entry(i, seed=f"new {i}") for i in (5, 6)])
    store.upsert([entry(i, rows=2) for i in range(IMAGES, IMAGES + 4)])
    store.recode(iter([]), {})  # the base goes, all else stays
    store.settle()
    store.upsert([entry(i, rows=3) for i in range(IMAGES + 4, IMAGES + 8)])
    store.close()
    assert sorted(path.suffix for path in folder.iterdir()) == [".faiss", ".lock", ".sqlite"]
    return folder, answers(folder)


def answers(folder):
    """All that can be read from a store, so that two of them compare."""
    store = EmbeddedStore(folder)
    queries = [VectorQuery(asked(0)), VectorQuery(asked(1, 3)), VectorQuery(asked(2, 2), True)]
    try:
        with store.reading() as view:
            scope = Scope(np.ones(len(view.table.ids), bool))
            found = [
                (best.image, best.score, best.regions.tolist(), best.record.to_bytes())
                for ranking in rank_images(queries, 4, view, scope)
                for best in ranking
            ]
            everything = [record.to_bytes() for _, record in view.records(view.table.ids)]
            maps = {image: maps_to_bytes(its) for image, its in view.maps(view.table.ids)}
            candidates = [
                [part.tolist() for part in its[:2]] for its in view.candidates(asked(3, 2), 1000, 1)
            ]
            return view.table.paths, view.table.counts.tolist(), found, everything, maps, candidates
    finally:
        store.close()


def outcome(folder, sound_answers):
    """What comes of reading a changed folder: "same", "noticed", or "same, with a warning"."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            got = answers(folder)
        except NOTICED as error:
            return "noticed" if str(folder) in str(error) else f"the error names no file: {error}"
    if warned:
        assert all("Compact the index to make it again" in str(one.message) for one in warned)
        *got, candidates = got
        *wanted, wanted_candidates = sound_answers
        assert got == wanted
        for one, other in zip(candidates, wanted_candidates, strict=True):
            assert set(one[0]) == set(other[0]) - {-1}  # removed rows are in a base alone
        return "warned"
    assert got == sound_answers
    return "same"


def outcomes(sound, tmp_path, changes):
    """What comes of each of several (file name, bytes), each in a copy of the sound index."""
    folder, wanted = sound
    (work := tmp_path / "work").mkdir(parents=True, exist_ok=True)
    counts = Counter()
    for name, content in changes:
        for path in work.iterdir():
            path.unlink()
        for path in folder.iterdir():
            shutil.copyfile(path, work / path.name)
        (work / name).write_bytes(content)
        counts[outcome(work, wanted)] += 1
    return counts


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def places(content, pieces):
    """The bits at which pieces are in a file."""
    bits = []
    for piece in pieces:
        start = content.index(piece)
        bits += range(8 * start, 8 * (start + len(piece)))
    return bits


def pieces_of(folder, query):
    connection = sqlite3.connect(folder / "records.sqlite")
    try:
        return [row[0] for row in connection.execute(query)]
    finally:
        connection.close()


def test_flips_in_vectors_boxes_and_maps_are_all_noticed(sound, tmp_path):
    """Of sixty bits flipped in the vectors of an earlier format none was noticed."""
    folder, _ = sound
    content = (folder / "records.sqlite").read_bytes()
    for table in ("records", "maps"):
        blobs = pieces_of(folder, f"SELECT data FROM {table}")
        inside = places(content, [blob for blob in blobs if blob in content])
        assert len(inside) > 50 * FLIPS
        some = np.random.default_rng(0).choice(inside, FLIPS, replace=False)
        changes = [("records.sqlite", flipped(content, bit)) for bit in some.tolist()]
        assert outcomes(sound, tmp_path / table, changes) == {"noticed": FLIPS}


def test_flips_in_the_table_of_images_change_no_answer(sound, tmp_path):
    """In its rows, and in the index by path beside it, which a search does not read."""
    folder, _ = sound
    content = (folder / "records.sqlite").read_bytes()
    digests = places(content, pieces_of(folder, "SELECT record FROM images"))
    paths = [f"/i/{number}".encode() for number in range(IMAGES)]
    ends = [at for path in paths for at in occurrences(content, path)]
    rows = [8 * (at + byte) + bit for at in ends for byte in range(-8, 24) for bit in range(8)]
    rng = np.random.default_rng(1)
    for bits, noticed in ((digests, FLIPS), (rows, FLIPS // 4)):
        some = rng.choice(bits, FLIPS, replace=False).tolist()
        changes = [("records.sqlite", flipped(content, bit)) for bit in some]
        counts = outcomes(sound, tmp_path, changes)
        assert counts["noticed"] >= noticed
        assert counts["noticed"] + counts["same"] == FLIPS


def occurrences(content, piece):
    at = content.find(piece)
    while at >= 0:
        yield at
        at = content.find(piece, at + 1)


def test_flips_anywhere_in_the_table_change_no_answer(sound, tmp_path):
    """In SQLite's own pages: which rows there are, where they begin, what its schema says."""
    folder, _ = sound
    content = (folder / "records.sqlite").read_bytes()
    rng = np.random.default_rng(2)
    anywhere = rng.integers(0, 8 * len(content), FLIPS).tolist()
    page = 1 << 12
    heads = [8 * page * at + bit for at in range(len(content) // page) for bit in range(8 * 100)]
    changes = [
        ("records.sqlite", flipped(content, bit))
        for bit in [*anywhere, *rng.choice(heads, FLIPS, replace=False).tolist()]
    ]
    counts = outcomes(sound, tmp_path, changes)
    assert counts["noticed"] + counts["same"] == 2 * FLIPS
    assert counts["noticed"] >= FLIPS // 2


def test_a_damaged_base_is_passed_over_with_a_warning(sound, tmp_path):
    folder, _ = sound
    (path,) = folder.glob("base-*")
    content = path.read_bytes()
    bits = np.random.default_rng(3).integers(0, 8 * len(content), FLIPS // 2).tolist()
    changes = [(path.name, flipped(content, bit)) for bit in bits]
    lengths = [0, 1, len(content) // 2, len(content) - 1]
    changes += [(path.name, content[:length]) for length in lengths]
    changes += [(path.name, content + b"x")]
    assert outcomes(sound, tmp_path, changes) == {"warned": len(changes)}


def test_a_table_cut_short_is_noticed(sound, tmp_path):
    folder, _ = sound
    content = (folder / "records.sqlite").read_bytes()
    lengths = [1, 20, 99, 100, *np.random.default_rng(4).integers(100, len(content), 20).tolist()]
    changes = [("records.sqlite", content[:length]) for length in lengths]
    assert outcomes(sound, tmp_path, changes) == {"noticed": len(changes)}


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM images WHERE path = '/i/7'",
        "UPDATE images SET path = '/i/other' WHERE path = '/i/7'",
        "UPDATE images SET id = id + 500 WHERE path = '/i/7'",
        "DELETE FROM records WHERE image = (SELECT id FROM images WHERE path = '/i/7')",
        "UPDATE records SET data = (SELECT data FROM records LIMIT 1)",
        "DELETE FROM maps WHERE image = (SELECT max(image) FROM maps)",
        "UPDATE maps SET data = (SELECT data FROM maps LIMIT 1)",
        "DELETE FROM state WHERE name = 'base digest'",
        "DELETE FROM state WHERE name = 'rows'",
        "DELETE FROM state",
        "UPDATE state SET value = value + 1 WHERE name = 'rows'",
        "UPDATE state SET value = 'base-none.faiss' WHERE name = 'base'",
    ],
)
def test_rows_that_are_missing_or_anothers_are_noticed(sound, tmp_path, change):
    """Each row by itself is sound: so it looks after a page was lost, or written twice."""
    folder, wanted = sound
    shutil.copytree(folder, work := tmp_path / "work")
    connection = sqlite3.connect(work / "records.sqlite")
    with connection:
        assert connection.execute(change).rowcount > 0
    connection.close()
    assert outcome(work, wanted) == "noticed"


def test_a_schema_that_is_no_text_is_noticed(sound, tmp_path):
    """SQLite's own message quotes the schema, and cannot be read then."""
    folder, _ = sound
    content = (folder / "records.sqlite").read_bytes()
    changed = content.replace(b"CREATE TABLE state", b"CREATE \xffABLE state", 1)
    assert changed != content
    assert outcomes(sound, tmp_path, [("records.sqlite", changed)]) == {"noticed": 1}


def test_an_image_that_is_in_the_table_but_not_found_is_noticed(sound, tmp_path):
    """As when the inner pages of SQLite's tree lead elsewhere."""
    folder, _ = sound
    shutil.copytree(folder, tmp_path / "work")
    file = RecordFile(tmp_path / "work")
    some = np.array([file.images().ids[0], 999])
    for read in (file.records, file.maps):
        with pytest.raises(DamagedRecordError, match="no image 999"):
            list(read(some))
    file.close()
