"""What runs networks: torch, or OpenVINO, which is faster on CPUs that multiply in bfloat16."""

from claid_ext.backbones.runtimes.choosing import (
    Choice,
    bfloat16_flag,
    choose,
    openvino_version,
)
from claid_ext.backbones.runtimes.network import Network, Runner, make_runner
from claid_ext.backbones.runtimes.torch_runtime import TorchRunner

__all__ = [
    "Choice",
    "Network",
    "Runner",
    "TorchRunner",
    "bfloat16_flag",
    "choose",
    "make_runner",
    "openvino_version",
]
