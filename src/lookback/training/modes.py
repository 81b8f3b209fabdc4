"""Sets truncated backpropagation, compilation and deterministic attention for training."""

import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch

from lookback.errors import UserError
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network


def set_modes(network: Network, trainer: Mapping[str, Any], device: str) -> None:
    """Apply the trainer's settings `tbptt` (truncated backpropagation) and `compile` to `network`.

    On a GPU, the attention kernels that are not deterministic are turned off. Raises UserError if
    the network does not support a setting, or if `compile` is true and the machine has no C++
    compiler.
    """
    if trainer["tbptt"] is not None:
        _truncate(network, trainer["tbptt"])
    if trainer["compile"]:
        _compile(network, device)
    if device != "cpu":
        # Fast attention kernels are not deterministic, because their order of summation varies.
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)


def _truncate(network: Network, steps: int) -> None:
    encoders = [module for module in network.modules() if isinstance(module, RecurrentEncoder)]
    if not encoders or not all(encoder.truncates for encoder in encoders):
        raise UserError(
            f"The trainer's `tbptt` is {steps}, but the model has no state to carry from one part "
            "of a sequence to the next. Only rnn, lstm and gru in one direction support `tbptt`. "
            "Set trainer.tbptt=null."
        )
    for encoder in encoders:
        encoder.truncate = steps


def _compile(network: Network, device: str) -> None:
    if any(isinstance(module, RecurrentEncoder) for module in network.modules()):
        raise UserError(
            "The trainer's `compile` is true, but the model is recurrent. Recurrent models have "
            "their own fast kernel, and torch.compile would take hours to compile their steps. "
            "Set trainer.compile=false."
        )
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if device == "cpu" and not any(shutil.which(name) for name in compilers if name):
        raise UserError(
            "The trainer's `compile` is true, but there is no C++ compiler on this machine. "
            "Install g++, name another compiler in the environment variable CXX, or set "
            "trainer.compile=false."
        )
    network.compile()
