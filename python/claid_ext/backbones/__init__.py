"""Vision transformers that give one feature a patch: named ones, any of timm's, or your own."""

from claid_ext.backbones.backbone import Backbone, load_backbone
from claid_ext.backbones.specs import BACKBONES, BackboneSpec

__all__ = ["BACKBONES", "Backbone", "BackboneSpec", "load_backbone"]
