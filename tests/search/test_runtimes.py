"""An index says what ran its networks, and is opened by something else only if that is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("faiss")

from claid_ext.backbones.runtimes import choosing
from claid_ext.errors import IndexMismatchError, RuntimeUnavailableError
from claid_ext.index.manifest import check_same
from claid_ext.search import InstanceIndex, Query
from claid_ext.search.recipes import Running

TORCH = {"runtime": "torch", "precision": "float32"}
FAST = {"runtime": "openvino", "precision": "float32"}


def _made(folder: Any) -> Any:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def photos_here(tmp_path, picture):
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        picture(seed).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path / "photos"


def _index(claid, *options):
    status, out, err = claid("index", "photos", *options)
    assert status == 0, err
    return out


def test_manifest_and_recipes_say_what_ran_the_networks(claid, photos_here, tmp_path) -> None:
    pytest.importorskip("openvino")
    _index(claid, "--runtime", "openvino", "--precision", "float32")
    made = _made(tmp_path / "things")
    for part in ("regions", "descriptor"):
        assert FAST.items() <= made[part].items()
        assert FAST.items() <= made["recipes"][part].items()


def test_auto_is_resolved_before_it_is_written(claid, photos_here, tmp_path) -> None:
    _index(claid)
    assert TORCH.items() <= _made(tmp_path / "things")["descriptor"].items()


def test_an_index_is_opened_by_what_made_it(claid, photos_here, tmp_path) -> None:
    pytest.importorskip("openvino")
    _index(claid, "--runtime", "openvino", "--precision", "float32")
    with InstanceIndex.open(tmp_path / "things") as index:
        assert FAST.items() <= index.descriptor.manifest().items()
        assert FAST.items() <= index.source.manifest().items()
        assert index.search(Query(photos_here / "0.png"))[0][0].image.endswith("0.png")
    assert "3 already present" in _index(claid)


@pytest.mark.parametrize("own", ["torch", "openvino"])
def test_another_runtime_is_an_error_unless_it_is_allowed(
    claid, photos_here, tmp_path, own
) -> None:
    pytest.importorskip("openvino")
    (other,) = {"torch", "openvino"} - {own}
    precise = ("--precision", "float32")
    _index(claid, "--runtime", own, *precise)
    for command in (("search", "things", "photos/1.png"), ("index", "photos")):
        status, _, err = claid(*command, "--runtime", other, *precise)
        assert status == 1
        assert f"the index has '{own}', got '{other}'" in err
        assert "--allow-runtime" in err
    status, out, err = claid(
        "search", "things", "photos/1.png", "--runtime", other, *precise, "--allow-runtime"
    )
    assert (status, err) == (0, "")
    assert "1.png" in out.splitlines()[0]
    status, out, _ = claid("index", "photos", "--runtime", other, *precise, "--allow-runtime")
    assert (status, "3 already present" in out) == (0, True)
    with pytest.raises(IndexMismatchError, match="allow_runtime=True"):
        _ = InstanceIndex.open(tmp_path / "things", runtime=other, precision="float32").descriptor
    allowed = InstanceIndex.open(
        tmp_path / "things", runtime=other, precision="float32", allow_runtime=True
    )
    with allowed as index:
        assert index.descriptor.manifest()["runtime"] == other
        assert index.search(Query(photos_here / "1.png"))[0][0].image.endswith("1.png")


def test_an_index_of_a_runtime_that_is_not_here(claid, photos_here, tmp_path, monkeypatch) -> None:
    pytest.importorskip("openvino")
    _index(claid, "--runtime", "openvino", "--precision", "float32")

    def missing() -> Any:
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(choosing, "import_openvino", missing)
    status, _, err = claid("search", "things", "photos/0.png")
    assert status == 1
    assert "run by openvino, float32" in err
    assert "--allow-runtime" in err
    status, out, err = claid("search", "things", "photos/0.png", "--allow-runtime")
    assert (status, err) == (0, "")
    assert "0.png" in out.splitlines()[0]
    with pytest.raises(RuntimeUnavailableError, match=r"\[fast\]"):
        _ = InstanceIndex.open(tmp_path / "things").descriptor


def test_an_older_manifest_was_made_by_torch(claid, photos_here, tmp_path) -> None:
    _index(claid, "--runtime", "torch")
    made = _made(tmp_path / "things")
    for part in ("regions", "descriptor"):
        for name in TORCH:
            del made[part][name], made["recipes"][part][name]
    (tmp_path / "things" / "manifest.json").write_text(json.dumps(made))
    with InstanceIndex.open(tmp_path / "things") as index:
        assert TORCH.items() <= index.descriptor.manifest().items()
    assert "3 already present" in _index(claid, "--runtime", "torch")


def test_only_runtimes_are_allowed_to_differ() -> None:
    stored = {"weights": "a", "runtime": "openvino", "precision": "int8", "calibration": "1"}
    given = {"weights": "a", "runtime": "torch", "precision": "float32"}
    check_same("i", stored, given, "descriptor", allow_runtime=True)
    with pytest.raises(IndexMismatchError, match="calibration: the index has '1', got None"):
        check_same("i", stored, given, "descriptor")
    with pytest.raises(IndexMismatchError, match="weights: the index has 'a'") as raised:
        check_same("i", stored, {**given, "weights": "b"}, "descriptor", allow_runtime=True)
    assert "runtime" not in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({}, ("torch", "bfloat16")),
        ({"runtime": "torch"}, ("torch", "float32")),
        ({"precision": "float32"}, ("torch", "float32")),
        ({"runtime": "auto"}, ("torch", "float32")),
    ],
)
def test_what_is_not_asked_for_is_the_recipes(monkeypatch, asked, chosen) -> None:
    monkeypatch.setattr(choosing, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(choosing, "openvino_version", lambda: None)
    recipe = {"runtime": "torch", "precision": "bfloat16"}
    assert tuple(Running("cpu", **asked).choice(recipe).values()) == chosen
