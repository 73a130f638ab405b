"""A ViT's weights: whatever project wrote them, under timm's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

__all__ = ["convert_checkpoint", "load_weights"]

_WRAPPERS = ("teacher", "student", "state_dict", "model", "model_state_dict")
"""Entries of a training checkpoint that hold the network; DINO's teacher is the one to use."""

_PREFIXES = ("_orig_mod.", "module.", "backbone.", "vit.", "dinov2.")
"""What wrappers of the network put before each name."""

_NOT_TOKENS = re.compile(
    r"(head|fc_norm|pre_logits|classifier|pooler|dino_head|ibot_head|decoder|local_cls_norm)\b"
    r"|(embeddings\.)?mask_token$|rope_embed\.periods$|.*\.bias_mask$"
)
"""Parts that patch tokens do not depend on: heads, masks for training, fixed tables."""

_TRANSFORMERS_NAMES = [
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^encoder\.layer\.", "blocks."),
    (r"^layernorm\.", "norm."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
]
"""ViT and DINOv2 of the transformers library, applied in this order."""


def convert_checkpoint(content: Mapping[str, Any]) -> State:
    """Bring a ViT's weights to timm's names.

    Understood are the names of timm; of facebookresearch's DINO, DINOv2 (with and without
    registers) and DINOv3; of ViT and DINOv2 in transformers; and any of them wrapped in a training
    checkpoint ("teacher", "student", ...) or in modules ("module.", "backbone.").

    Parameters
    ----------
    content : names to tensors, perhaps nested.

    Returns
    -------
    dict of names to tensors: those that patch tokens depend on, and what is not understood.
    """
    state = _unwrap(content)
    if any(name.startswith("encoder.layer.") for name in state):
        state = _from_transformers(state)
    state = {name: weight for name, weight in state.items() if not _NOT_TOKENS.match(name)}
    # FSDP chunks of DINOv2: blocks.<chunk>.<block>.
    state = {re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", n): w for n, w in state.items()}
    if "storage_tokens" in state:
        return _from_dinov3(state)
    if "register_tokens" in state:
        return _from_dinov2_registers(state)
    return state


def load_weights(model: Any, state: State, source: str) -> None:
    """Put weights under timm's names into a timm ViT.

    A position embedding of another grid is resampled, bicubic and antialiased, as timm does.

    Parameters
    ----------
    model : the network, changed in place.
    state : as `convert_checkpoint` returns.
    source : what the weights are, for the error.

    Raises
    ------
    ValueError : weights are missing, unexpected, or of another shape; names a few of them.
    """
    own = model.state_dict()
    positions = state.get("pos_embed")
    if positions is not None and positions.ndim == 3 and "pos_embed" in own:
        state = {**state, "pos_embed": _resample(model, positions, own["pos_embed"])}
    shaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": shaped,
    }
    if any(problems.values()):
        told = "; ".join(f"{_a_few(names)} {what}" for what, names in problems.items() if names)
        raise ValueError(f"weights: {source} does not fit this backbone: {told}")
    model.load_state_dict(state)


def _a_few(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _unwrap(content: Mapping[str, Any]) -> State:
    """Find the network's own weights in a checkpoint and take its wrappers' prefixes off."""
    import torch

    inner = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)), None)
    if inner is not None:
        return _unwrap(inner)
    state = {name: w for name, w in content.items() if isinstance(w, torch.Tensor)}
    for prefix in _PREFIXES * 2:
        # A head beside the network ("backbone.norm.bias", "head.bias") is dropped with this.
        inside = [name for name in state if name.startswith(prefix)]
        if inside:
            state = {name.removeprefix(prefix): state[name] for name in inside}
    return state


def _from_transformers(state: State) -> State:
    import torch

    renamed: State = {}
    for name, weight in state.items():
        if ".attention.attention." in name:
            continue
        for pattern, replacement in _TRANSFORMERS_NAMES:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901 (one name, step by step)
        renamed[name] = weight
    for name in state:
        if ".attention.attention.query." in name:
            parts = [state[name.replace(".query.", f".{p}.")] for p in ("query", "key", "value")]
            block = name.removeprefix("encoder.layer.")
            renamed[f"blocks.{block.replace('attention.attention.query', 'attn.qkv')}"] = torch.cat(
                parts
            )
    return renamed


def _from_dinov2_registers(state: State) -> State:
    """Registers stand between the class token and the patches; neither gets a position."""
    positions = state["pos_embed"]
    converted = {name: w for name, w in state.items() if name != "register_tokens"}
    converted["reg_token"] = state["register_tokens"]
    converted["cls_token"] = state["cls_token"] + positions[:, :1]
    converted["pos_embed"] = positions[:, 1:]
    return converted


def _from_dinov3(state: State) -> State:
    """Rename; of the bias of query, key and value, the key's is masked and takes no part."""
    biases = {name: w.chunk(3) for name, w in state.items() if name.endswith("attn.qkv.bias")}
    biased = any(q.any() or v.any() for q, _, v in biases.values())
    converted: State = {}
    for name, weight in state.items():
        if name not in biases:
            renamed = re.sub(r"\.ls(\d)\.gamma$", r".gamma_\1", name)
            converted["reg_token" if name == "storage_tokens" else renamed] = weight
        elif biased:
            query, _, value = biases[name]
            converted[name.replace("qkv.bias", "q_bias")] = query
            converted[name.replace("qkv.bias", "v_bias")] = value
    return converted


def _resample(model: Any, positions: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Bring a position embedding to the model's grid; one that is no square is left as it is."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    patches = positions.shape[1] - prefix
    same = positions.shape == own.shape
    if same or positions.shape[2] != own.shape[2] or round(patches**0.5) ** 2 != patches:
        return positions
    grid = list(model.patch_embed.grid_size)
    resampled: torch.Tensor = resample_abs_pos_embed(
        positions, new_size=grid, num_prefix_tokens=prefix
    )
    return resampled
