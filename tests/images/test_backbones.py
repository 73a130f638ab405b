"""Backbones: every project's key names give the tokens of the network they came from."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from claid_ext.backbones import BACKBONES, Backbone, load_backbone  # noqa: E402
from claid_ext.backbones import hub as hub_module  # noqa: E402
from claid_ext.backbones.checkpoints import convert_checkpoint, load_weights  # noqa: E402
from claid_ext.errors import WeightsUnavailableError  # noqa: E402

State = dict[str, Any]


def _network(name: str, seed: int = 0, **options: Any) -> Any:
    """A timm network with random weights, none of them at its trivial start."""
    torch.manual_seed(seed)
    network = timm.create_model(name, num_classes=0, dynamic_img_size=True, **options).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return network


def _small(name: str, **options: Any) -> Any:
    """The same, 2 blocks deep and 48 wide."""
    return _network(name, embed_dim=48, depth=2, num_heads=2, **options)


def _tokens(network: Any, batch: Any) -> Any:
    with torch.inference_mode():
        return network.forward_features(batch)[:, network.num_prefix_tokens :]


def _batch(patch: int, rows: int = 3, columns: int = 5) -> Any:
    return torch.randn(2, 3, rows * patch, columns * patch, generator=torch.Generator())


def _dinov2_names(state: State) -> State:
    """From timm's to facebookresearch's names; with registers, undo what timm adds up."""
    official = {"mask_token": torch.zeros(1, 48), **state}
    if "reg_token" in official:
        first = torch.randn(1, 1, official["pos_embed"].shape[2])
        official["register_tokens"] = official.pop("reg_token")
        official["cls_token"] = official["cls_token"] - first
        official["pos_embed"] = torch.cat([first, official["pos_embed"]], 1)
    return official


def _dinov3_names(state: State) -> State:
    """From timm's to facebookresearch's names; the key's bias is masked there, and not zero."""
    official: State = {
        "storage_tokens": state["reg_token"],
        "mask_token": torch.zeros(1, 48),
        "rope_embed.periods": torch.ones(6),
    }
    for name, weight in state.items():
        if name.endswith("attn.q_bias"):
            value = state[name.replace("q_bias", "v_bias")]
            bias = torch.cat([weight, torch.ones_like(weight), value])
            official[name.replace("q_bias", "qkv.bias")] = bias
            official[name.replace("q_bias", "qkv.bias_mask")] = torch.ones_like(bias)
        elif name != "reg_token" and not name.endswith("attn.v_bias"):
            official[name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = weight
    return official


def _transformers_dinov2_names(state: State) -> State:
    """From timm's names to those of transformers."""
    renamed: State = {"embeddings.mask_token": torch.zeros(1, 48)}
    table = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "blocks.": "encoder.layer.",
        "attn.proj": "attention.output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    for name, weight in state.items():
        other = f"layer{name}" if name.startswith("norm.") else name
        for ours, theirs in table.items():
            other = other.replace(ours, theirs)
        if ".attn.qkv." in name:
            for part, third in zip(("query", "key", "value"), weight.chunk(3), strict=True):
                renamed[other.replace("attn.qkv", f"attention.attention.{part}")] = third
        else:
            renamed[other] = weight
    return renamed


def _transformers_vit_names(state: State) -> State:
    renamed = _transformers_dinov2_names(state)
    del renamed["embeddings.mask_token"]
    for ours, theirs in (
        *((".norm1.", ".layernorm_before."), (".norm2.", ".layernorm_after.")),
        *((".mlp.fc1.", ".intermediate.dense."), (".mlp.fc2.", ".output.dense.")),
    ):
        renamed = {name.replace(ours, theirs): w for name, w in renamed.items()}
    return {**{f"vit.{n}": w for n, w in renamed.items()}, "classifier.weight": torch.ones(2)}


def _student_checkpoint(state: State) -> State:
    student = {f"module.backbone.{n}": w for n, w in state.items()}
    return {"student": {**student, "module.head.last_layer.weight": torch.ones(3)}, "epoch": 7}


def _teacher_checkpoint(state: State) -> State:
    teacher = {f"backbone.{n}": w for n, w in state.items()}
    wrong = {n: torch.zeros_like(w) for n, w in teacher.items()}
    return {"student": wrong, "teacher": {**teacher, "head.mlp.0.weight": torch.ones(3)}}


def _chunked(state: State) -> State:
    return {n.replace("blocks.", "blocks.0."): w for n, w in _dinov2_names(state).items()}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("vit_small_patch8_224", dict),
        ("vit_small_patch8_224", _student_checkpoint),
        ("vit_small_patch8_224", _teacher_checkpoint),
        ("vit_small_patch8_224", _transformers_vit_names),
        ("vit_small_patch14_dinov2", dict),
        ("vit_small_patch14_dinov2", _dinov2_names),
        ("vit_small_patch14_dinov2", _chunked),
        ("vit_small_patch14_dinov2", _transformers_dinov2_names),
        ("vit_small_patch14_reg4_dinov2", dict),
        ("vit_small_patch14_reg4_dinov2", _dinov2_names),
        ("vit_small_patch16_dinov3", _dinov3_names),
        ("vit_small_patch16_dinov3_qkvb", _dinov3_names),
    ],
)
def test_key_names_of_every_project(name: str, written: Callable[[State], State]) -> None:
    source = _small(name)
    batch = _batch(source.patch_embed.patch_size[0])
    target = _small(name, seed=1)
    load_weights(target, convert_checkpoint(written(source.state_dict())), "a file")
    assert torch.allclose(_tokens(target, batch), _tokens(source, batch), atol=1e-5)


def test_dinov3_biases_that_are_all_zero_are_dropped() -> None:
    """The released small, base and large networks have none; timm has no place for them there."""
    state = _small("vit_small_patch16_dinov3").state_dict()
    official = {
        **_dinov3_names(state),
        "blocks.0.attn.qkv.bias": torch.tensor([0.0] * 48 + [3.0] * 48 + [0.0] * 48),
    }
    assert convert_checkpoint(official).keys() == state.keys()


def test_position_embedding_of_another_grid_is_resampled() -> None:
    source = _small("vit_small_patch8_224", img_size=64)
    target = _small("vit_small_patch8_224", img_size=32, seed=1)
    load_weights(target, convert_checkpoint(source.state_dict()), "a file")
    assert target.pos_embed.shape[1] == 17
    assert torch.equal(target.pos_embed[:, 0], source.pos_embed[:, 0])
    at_32 = timm.layers.resample_abs_pos_embed(source.pos_embed, [4, 4], num_prefix_tokens=1)
    assert torch.equal(target.pos_embed, at_32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.weight"), "norm.weight missing"),
        (lambda s: s.update(extra=torch.ones(1)), "extra unexpected"),
        (lambda s: s.update({"norm.bias": torch.ones(3)}), r"norm.bias \(3,\) instead of \(48,\)"),
        (lambda s: [s.pop(n) for n in list(s) if "mlp" in n], "and 5 more missing"),
    ],
)
def test_weights_that_do_not_fit(change: Callable[[State], object], message: str) -> None:
    network = _small("vit_small_patch8_224")
    state = dict(network.state_dict())
    change(state)
    with pytest.raises(ValueError, match=rf"weights: f\.pth does not fit.*{message}"):
        load_weights(network, convert_checkpoint(state), "f.pth")


@pytest.mark.parametrize(
    ("backbone", "timm_name", "suffix", "written"),
    [
        ("dino_vits16", "vit_small_patch16_224", ".pth", _teacher_checkpoint),
        ("dinov2_vits14_reg", "vit_small_patch14_reg4_dinov2", ".safetensors", _dinov2_names),
        ("dinov3_vits16", "vit_small_patch16_dinov3_qkvb", ".pth", _dinov3_names),
    ],
)
def test_named_backbones_from_local_files(
    tmp_path: Path, backbone: str, timm_name: str, suffix: str, written: Callable[[State], State]
) -> None:
    source = _network(timm_name)
    path = tmp_path / f"weights{suffix}"
    content = written(source.state_dict())
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({n: w.contiguous() for n, w in content.items()}, path)
    else:
        torch.save({**content, "args": argparse.Namespace(lr=1)}, path)
    loaded = load_backbone(backbone, weights=path, device="cpu")
    spec = BACKBONES[backbone]
    assert (loaded.patch_size, loaded.tau) == (spec.patch_size, spec.tau)
    assert loaded.min_patches == spec.min_patches
    batch = _batch(spec.patch_size)
    features = loaded.features(batch)
    assert features.shape == (2, 15, spec.dim)
    assert torch.allclose(features, _tokens(source, batch), atol=1e-4)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(WeightsUnavailableError, match=r"bad\.pth cannot be read"):
        load_backbone("dino_vits16", weights=tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["empty.pth", "junk.safetensors"])
def test_weights_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"" if name == "empty.pth" else b"junk")
    with pytest.raises(WeightsUnavailableError, match=f"{name} cannot be read"):
        load_backbone("dino_vits16", weights=tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.pth"):
        load_backbone("dino_vits16", weights=tmp_path / "none.pth")


def test_default_least_region_is_15_patches_of_8_pixels() -> None:
    smallest = {spec.patch_size: spec.min_patches for spec in BACKBONES.values()}
    assert smallest == {8: 15, 14: 5, 16: 4}
    assert Backbone("b", lambda x: x, patch_size=64).min_patches == 2


def test_specs_agree_with_timm() -> None:
    for spec in BACKBONES.values():
        with torch.device("meta"):
            network = timm.create_model(spec.timm_name, num_classes=0)
        assert network.patch_embed.patch_size == (spec.patch_size, spec.patch_size)
        assert (network.embed_dim, len(network.blocks)) == (spec.dim, spec.blocks)
        if not spec.package:
            assert timm.get_pretrained_cfg(spec.timm_name).hf_hub_id == spec.hub_name


def test_names_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"no 'dino_vitb9'.*did you mean .*dino_vitb8"):
        load_backbone("dino_vitb9")
    with pytest.raises(TypeError, match="a name, a module or a callable, got int"):
        load_backbone(3)
    with pytest.raises(ValueError, match="patch_size is needed"):
        load_backbone(lambda batch: batch)
    with pytest.raises(ValueError, match="patch_size must be a positive int"):
        load_backbone(lambda batch: batch, patch_size=0)


def test_a_network_that_is_no_plain_vit(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="resnet18 is no plain ViT"):
        load_backbone("resnet18", weights=tmp_path / "w.pth")


def test_a_module_and_a_callable_of_your_own(patch_means: Callable[[Any], Any]) -> None:
    own = load_backbone(patch_means, patch_size=8)
    assert own.features(_batch(8)).shape == (2, 15, 6)
    network = _small("vit_small_patch8_224")
    batch = _batch(8)
    assert torch.allclose(load_backbone(network).features(batch), _tokens(network, batch))
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8, 8), torch.nn.Flatten(2))
    with pytest.raises(ValueError, match=r"must give \(B, N, D\).*\(2, 15\).*got \(2, 5, 15\)"):
        load_backbone(module, patch_size=8).features(batch)
    with pytest.raises(ValueError, match="whole patches of 8 pixels, got 20 x 24"):
        own.features(torch.zeros(1, 3, 20, 24))


def test_fingerprint_follows_the_weights() -> None:
    first, same, other = (
        load_backbone(_small("vit_small_patch8_224", seed=seed)).fingerprint for seed in (0, 0, 1)
    )
    assert first == same != other
    assert len(first) == 64


class _Unreachable:
    def head(self, url: str, timeout: float) -> None:
        raise OSError("no route to host\nand more")


class _Silent:
    def head(self, url: str, timeout: float) -> None:
        time.sleep(5)


@pytest.mark.parametrize(
    ("session", "offline", "why"),
    [
        (_Unreachable, False, r"out of reach \(no route to host\)"),
        (_Silent, False, r"no answer in 0\.2 s"),
        (_Unreachable, True, "switched off by HF_HUB_OFFLINE"),
    ],
)
def test_hub_out_of_reach_is_one_error_with_three_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: Any, offline: bool, why: str
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", session)
    monkeypatch.setattr(hub_module.hub_problem, "__defaults__", (0.2,))
    with pytest.raises(WeightsUnavailableError, match=why) as raised:
        load_backbone("dino_vits16")
    for way in ("weights='FILE'", "claid_ext[offline]", "focus_vits14", "HF_ENDPOINT"):
        assert way in str(raised.value)


def test_weights_in_the_hubs_cache_need_no_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from safetensors.torch import save_file

    source = _network("vit_small_patch16_224")
    folder = tmp_path / "models--timm--vit_small_patch16_224.dino"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(source.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.utils, "get_session", _Unreachable)
    loaded = load_backbone("dino_vits16", device="cpu")
    batch = _batch(16)
    assert torch.allclose(loaded.features(batch), _tokens(source, batch), atol=1e-4)
