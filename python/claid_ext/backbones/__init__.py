"""Vision transformers that give one feature per patch: named ones, any of timm's, or yours."""

from claid_ext.backbones.backbone import Backbone, load_backbone, running_of
from claid_ext.backbones.specs import BACKBONES, BackboneSpec

__all__ = ["BACKBONES", "Backbone", "BackboneSpec", "load_backbone", "running_of"]
