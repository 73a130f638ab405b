"""Classifiers by global average pooling, whose weights make class activation maps of their cells.

Zhou et al., CVPR 2016 (arXiv 1512.04150): where the scores of a network are a linear layer on the
mean of its last map, the same layer on each cell says how much that cell speaks for a class.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from claid_ext.descriptors.networks import NETWORKS, ConvNetwork
from claid_ext.descriptors.weights import load_into, timm_names, torchvision_weights
from claid_ext.weights import read_checkpoint

if TYPE_CHECKING:
    from claid_ext.descriptors.pooling import FeatureMap

__all__ = ["GapClassifier", "gap_classifier", "local_network", "local_stage"]

LOCAL_STRIDE = 16  # of the layer that is weighted and pooled, as VGG-16's conv5 has it
_PROBE = 64  # pixels a side of the input by which a network is tried out
_TOLERANCE = 1e-3  # of its scores, relative to the largest


class GapClassifier:
    """A network of two maps and a linear layer.

    Attributes
    ----------
    network : gives the local map (stride 16) and the last map, that which is averaged.
    weight : float32 (classes, C) of the linear layer.
    bias : float32 (classes,).
    """

    def __init__(self, network: ConvNetwork, weight: Tensor, bias: Tensor) -> None:
        """Put them together."""
        self.network = network
        self.weight = weight
        self.bias = bias

    def scores(self, last: FeatureMap) -> Tensor:
        """Return the score of each class, (classes,), by the mean of the last map's cells."""
        return self.weight @ last.values.mean(dim=(1, 2)) + self.bias

    def class_maps(self, last: FeatureMap, classes: Tensor) -> Tensor:
        """Return the class activation maps of some classes, (n, h, w): w_c on every cell."""
        return torch.einsum("nc,chw->nhw", self.weight[classes], last.values)


class _LocalAndLast(nn.Module):
    """A timm network's map of one stage, and the map that it averages."""

    def __init__(self, network: Any, stage: int) -> None:
        super().__init__()
        self.network = network
        self.stage = stage

    def forward(self, batch: Tensor) -> list[Tensor]:
        last, (local,) = self.network.forward_intermediates(
            batch, indices=[self.stage], output_fmt="NCHW"
        )
        return [local, last]


def local_stage(network: Any) -> int:
    """Return the number of a timm network's last stage of stride 16.

    Raises
    ------
    ValueError : it has none.
    """
    strides = [stage["reduction"] for stage in network.feature_info]
    if LOCAL_STRIDE not in strides:
        raise ValueError(f"the network has no stage of stride {LOCAL_STRIDE}, only {strides}")
    return len(strides) - 1 - strides[::-1].index(LOCAL_STRIDE)


def gap_classifier(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
) -> GapClassifier:
    """Make a classifier by a name in `NETWORKS` or in timm; arguments and errors of `timm_network`.

    Raises
    ------
    ValueError : it classifies by more than a linear layer on its last map's mean (as VGG-16 does),
        or the weights lack the classifier.
    """
    model = _classifier_model(name, weights)
    network = _local_and_last(name, model, device)
    linear = model.get_classifier()
    if not isinstance(linear, nn.Linear):
        raise ValueError(f"{name} does not classify by one linear layer, but {linear}")
    bias = torch.zeros(len(linear.weight)) if linear.bias is None else linear.bias.detach()
    made = GapClassifier(network, linear.weight.detach(), bias.to(network.device))
    _check_pooling(made, model, name)
    return made


def _classifier_model(name: str, weights: str | Path | None) -> Any:
    """Make a timm network with its classifier, by a name in `NETWORKS` or in timm."""
    import timm

    from claid_ext.backbones.hub import create_from_hub

    spec = NETWORKS.get(name)
    timm_name = spec.timm_name if spec else name
    if not timm.is_model(timm_name.partition(".")[0]):
        raise ValueError(f"classifier must be a named network or a timm model: got {name!r}")
    package = spec.package if spec and weights is None else None
    if package is None and weights in {None, "hub"}:
        model = create_from_hub(timm_name, name, {})
    else:
        model = timm.create_model(timm_name, pretrained=False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(torch.nan)  # `load_into` accepts a file without a classifier
        if weights == "torchvision":
            load_into(model, torchvision_weights(name), f"torchvision's {name}")
        else:
            file = package.find() if package else Path(weights or "")
            load_into(model, timm_names(read_checkpoint(file)), str(file))
        if not all(parameter.isfinite().all() for parameter in model.parameters()):
            raise ValueError(f"weights: those for {name} lack its classifier")
    return model


def local_network(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
) -> ConvNetwork:
    """Make a network of two maps: its last stage of stride 16, and the last it has of all.

    Arguments and errors are those of `gap_classifier`, but for how it classifies.
    """
    return _local_and_last(name, _classifier_model(name, weights), device)


def _local_and_last(name: str, model: Any, device: str | torch.device | None) -> ConvNetwork:
    spec = NETWORKS.get(name)
    config = model.pretrained_cfg
    stage = local_stage(model)
    return ConvNetwork(
        _LocalAndLast(model, stage),
        name=name,
        layers=(model.feature_info[stage]["module"], "last"),
        mean=spec.mean if spec else tuple(config["mean"]),
        std=spec.std if spec else tuple(config["std"]),
        device=device,
    )


@torch.inference_mode()
def _check_pooling(made: GapClassifier, model: Any, name: str) -> None:
    from claid_ext.descriptors.pooling import FeatureMap

    device = made.network.device
    ramp = torch.linspace(-1, 1, _PROBE, device=device)
    probe = (ramp[:, None] * ramp)[None, None].expand(1, 3, -1, -1).contiguous()
    last = made.network.forward(probe)[1][0]
    wanted = model(probe)[0]
    fits = len(last) == made.weight.shape[1]
    error = (made.scores(FeatureMap(last, (1.0, 1.0))) - wanted).abs().max() if fits else torch.inf
    if not error <= _TOLERANCE * wanted.abs().max():
        raise ValueError(f"{name} does not classify by its last map's mean: it has no class maps")
