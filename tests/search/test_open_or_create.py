"""`claid index` on an index that is there: it goes on, or says which options are others."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")

from claid_ext.cli import main

MADE_WITH = ["--pooling", "gem", "--octaves", "2", "--scales", "1", "--factory", "Flat"]


@pytest.fixture
def index(tmp_path, photos, networks, monkeypatch, capsys):
    """Run `claid index photos -o made OPTIONS`; there is one of six photos already."""
    monkeypatch.chdir(tmp_path)

    def run(*options):
        capsys.readouterr()
        status = main(["index", "photos", "-o", "made", *options])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return status, printed.out + printed.err

    status, printed = run(*networks("conv"), *MADE_WITH)
    assert status == 0
    assert "6 added" in printed
    return run


def on_disk(folder):
    """All files with their content and when they were written, but for the lock that is taken."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.name != "writer.lock"
    }


def test_the_same_command_goes_on(index, networks, tmp_path, photos, picture):
    before = on_disk(tmp_path / "made")
    for options in ([*networks("conv"), *MADE_WITH], [], ["--probes", "32"], ["--batch-size", "2"]):
        status, printed = index(*options)
        assert status == 0, printed
        assert "0 added" in printed
        assert "6 already present" in printed
    assert on_disk(tmp_path / "made")["manifest.json"] == before["manifest.json"]
    for number, options in enumerate([[], [*networks("conv"), *MADE_WITH]]):
        picture(number).save(photos[0].with_name(f"new {number}.png"))
        status, printed = index(*options)
        assert status == 0, printed
        assert "1 added" in printed
        wanted = f"{6 + number} already present, 0 failed; {7 + number} images in total"
        assert wanted in printed


OTHER = {
    "--regions grid": r"regions name: the index has 'detect', got 'grid'",
    "--regions full": r"regions name: the index has 'detect', got 'full'",
    "--tau 0.25": r"regions options 1 tau: the index has 0.5, got 0.25",
    "--min-patches 3": r"regions options 1 min_patches: the index has 2, got 3",
    "--scales 1 1.5": r"regions scales: the index has \[1.0\], got \[1.0, 1.5\]",
    "--max-regions 5": r"regions max_regions: the index has \d+, got 5",
    "--pooling mean": r"descriptor pooling: the index has 'gem', got 'mean'",
    "--octaves 1": r"descriptor octaves: the index has 2, got 1",
    "--layer blocks.1": r"descriptor layers: the index has \[.*\], got \['blocks.1'\]",
    "--factory IVF16,Flat": r"factory: the index has 'Flat', got 'IVF16,Flat'",
    "--probes 7": r"probes: the index has 32, got 7",
    "--pca 4": r"pca: the index has None, got 4",
}


@pytest.mark.parametrize("other", OTHER)
def test_another_option_is_an_error_that_names_it(index, networks, tmp_path, other):
    """Alone, or beside the options that the index was made with."""
    before = on_disk(tmp_path / "made")
    made_with = [*networks("conv"), *MADE_WITH]
    if "--regions" in other:
        made_with = [option for option in made_with if option not in {"--scales", "1"}]
    for given in ([], made_with):
        status, printed = index(*given, *other.split())
        assert status == 1
        (named,) = re.findall(r"made was made with other options: (.*)\. Leave these", printed)
        assert re.search(OTHER[other], named)
        # What follows from these differs as well: options for each scale, the length of vectors.
        assert "; " not in named or other.startswith(("--regions", "--layer", "--scales"))
        assert "options out to use the index's own, or make a new index" in printed
        assert on_disk(tmp_path / "made") == before


def test_several_other_options_are_all_named(index, tmp_path):
    before = on_disk(tmp_path / "made")
    status, printed = index("--regions", "grid", "--pca", "4", "--factory", "IVF16,Flat")
    assert status == 1
    for option in ("regions name", "pca", "factory"):
        assert f"{option}: the index has" in printed
    assert on_disk(tmp_path / "made") == before


def test_other_networks_are_named(index, networks, tmp_path):
    """Another descriptor, another backbone, the same one with other weights."""
    import timm
    import torch

    before = on_disk(tmp_path / "made")
    status, printed = index(*networks("tokens"))
    assert status == 1
    assert "descriptor name: the index has" in printed
    torch.manual_seed(1)
    for name, backbone in [("test_vit", False), ("test_vit3", True)]:
        torch.save(timm.create_model(name, num_classes=0).state_dict(), tmp_path / f"{name}.pth")
        weights = str(tmp_path / f"{name}.pth")
        for given in ([*networks("conv"), *MADE_WITH], []):
            status, printed = index(*given, "--backbone", name, "--weights", weights)
            assert status == 1
            assert "regions weights: the index has" in printed
            assert ("regions backbone: the index has" in printed) == backbone
    assert on_disk(tmp_path / "made") == before


def test_a_folder_that_is_no_index_is_left_alone(index, tmp_path, networks):
    manifest = tmp_path / "made" / "manifest.json"
    content = json.loads(manifest.read_text())
    for text, why in [
        ("{", "manifest.json is damaged"),
        ("[]", "not the manifest of an instance index"),
        (json.dumps({**content, "version": 99}), "has version 99"),
        (json.dumps({**content, "version": 2}), "Make it anew from its photos: claid index PHOTOS"),
    ]:
        manifest.write_text(text)
        before = on_disk(tmp_path / "made")
        status, printed = index(*networks("conv"), *MADE_WITH)
        assert status == 1
        assert why in printed
        assert on_disk(tmp_path / "made") == before


def test_an_option_alone_means_that_option(index, networks, tmp_path):
    """Of an index whose vectors are the detector's tokens as well."""
    options = ["-o", "tokens", *networks("tokens")]
    assert main(["index", "photos", *options]) == 0
    for option, why in [
        ("--tau 0.25", "options 1 tau: the index has 0.5, got 0.25"),
        ("--pooling mean", "pooling: the index has 'whitened', got 'mean'"),
        ("--regions grid", "regions name: the index has 'detect', got 'grid'"),
    ]:
        status, printed = index("-o", "tokens", *option.split())
        assert status == 1
        (named,) = re.findall(r"with other options: (.*). Leave these", printed)
        differing = named.split("; ")
        assert any(why in one for one in differing), printed
        assert len(differing) == 1 or option == "--regions grid"
    assert index("-o", "tokens", "--tau", "0.5", "--pooling", "whitened")[0] == 0
