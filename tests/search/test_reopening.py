"""What the manifest says makes the same networks again, in any folder."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("timm")

from claid_ext.cli import main


@pytest.mark.parametrize("descriptor", ["tokens", "conv"])
def test_weights_of_local_files_are_found_from_another_folder(  # noqa: PLR0917 (pytest gives them by name)
    tmp_path, photos, networks, monkeypatch, capsys, descriptor
):
    """Weights were given relative to the folder that the index was made in."""
    (tmp_path / "weights").mkdir()
    given = networks(descriptor)
    for i, option in enumerate(given):
        if option.endswith(".pth"):
            shutil.copy(option, tmp_path / "weights" / f"{i}.pth")
            given[i] = f"weights/{i}.pth"
    monkeypatch.chdir(tmp_path)
    assert main(["index", "photos", "-o", "index", *given]) == 0
    capsys.readouterr()
    monkeypatch.chdir(tmp_path / "weights")
    assert main(["search", "../index", str(photos[2]), "-k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["image"] == str(photos[2])


def test_a_network_of_your_own_must_be_given_again(tmp_path, photos):
    import torch
    from claid_ext import InstanceIndex, RegionDescriptor
    from claid_ext.backbones import load_backbone
    from claid_ext.errors import IndexMismatchError

    def tokens(batch):
        return torch.nn.functional.avg_pool2d(batch, 8).flatten(2).transpose(1, 2)

    own = RegionDescriptor(load_backbone(tokens, patch_size=8))
    with InstanceIndex.create(tmp_path / "i", descriptor=own, regions="full") as index:
        index.add(photos)
    with (
        InstanceIndex.open(tmp_path / "i") as index,
        pytest.raises(IndexMismatchError, match="a descriptor of your own: give it when opening"),
    ):
        index.search(photos[0])
    with InstanceIndex.open(tmp_path / "i", descriptor=own) as index:
        assert index.search(photos[0], 1)[0][0].image == str(photos[0])
