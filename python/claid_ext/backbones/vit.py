"""timm's ViTs in two parts, for runtimes that convert networks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from claid_ext.backbones.runtimes import Network
from claid_ext.weights import weights_digest

if TYPE_CHECKING:
    import torch

__all__ = ["in_usual_module", "vit_network"]

_MODULES = ("timm.models.vision_transformer", "timm.models.eva")


def in_usual_module(name: str) -> bool:
    """Whether a timm network's name says that it is of the classes that `vit_network` splits."""
    import timm

    plain = name.partition(".")[0]
    return timm.is_model(plain) and timm.model_entrypoint(plain).__module__ in _MODULES


def vit_network(model: Any, block: int) -> Network | None:
    """Split a ViT before its first block; None where it is not of timm's two usual classes.

    Resampled positions and rotations depend on the grid in ways that a conversion would freeze;
    the blocks take any number of tokens.

    Parameters
    ----------
    model : a network of timm.
    block : how many blocks are run before the tokens are taken.
    """
    import torch
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    kinds = (VisionTransformer, Eva)
    if not any(
        isinstance(model, kind) and type(model).forward_intermediates is kind.forward_intermediates
        for kind in kinds
    ):
        return None
    height, width = model.patch_embed.patch_size
    noise = torch.Generator().manual_seed(0)
    one, other = (
        torch.randn(1, 3, rows * height, columns * width, generator=noise)
        for rows, columns in ((3, 5), (4, 2))
    )
    return Network(
        head=partial(_embedded, model),
        body=_trunk(model, block),
        examples=(one, other),
        identify=partial(_fingerprint, model, block),
        transformer=True,
    )


def _embedded(model: Any, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the tokens before the first block, and the rotation of queries and keys if any."""
    made = model._pos_embed(model.patch_embed(batch))
    tokens, rotation = made if isinstance(made, tuple) else (made, None)
    tokens = model.norm_pre(tokens)
    return (tokens,) if rotation is None else (tokens, rotation)


def _trunk(model: Any, block: int) -> torch.nn.Module:
    import torch

    class Trunk(torch.nn.Module):
        """The blocks and the final norm, without class and register tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.blocks = model.blocks[:block]
            self.norm = model.norm

        def forward(self, tokens: Any, rotation: Any = None) -> Any:
            mixed = getattr(model, "rope_mixed", False)
            for number, one in enumerate(self.blocks):
                if rotation is None:
                    tokens = one(tokens)
                else:
                    tokens = one(tokens, rope=rotation[number] if mixed else rotation)
            return self.norm(tokens)[:, model.num_prefix_tokens :]

    return Trunk().eval()


def _fingerprint(model: Any, block: int) -> str:
    heads = model.blocks[0].attn.num_heads
    return f"{weights_digest(model)} {block} {heads} {model.num_prefix_tokens} {model.blocks[0]!r}"
