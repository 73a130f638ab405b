"""A descriptor of two stages that any process can make: the same in each."""

from __future__ import annotations

from typing import Any


def small_descriptor() -> Any:
    """A descriptor of two stages without a shipped basis: random features of squares.

    Two layers, of 40 channels for squares of 8 pixels and of 48 for squares of 16.
    """
    import torch
    from claid_ext import RegionDescriptor

    class Squares(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fine = torch.nn.Conv2d(3, 40, 8, stride=8)
            self.coarse = torch.nn.Conv2d(40, 48, 2, stride=2)

        def forward(self, batch):
            fine = self.fine(batch).relu()
            return [fine, self.coarse(fine).relu()]

    return RegionDescriptor(Squares().eval())
