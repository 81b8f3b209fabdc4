"""How a network runs while it trains: with its memory cut, compiled, the same at every run."""

import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch

from lookback.errors import UserError
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network


def set_modes(network: Network, trainer: Mapping[str, Any], device: str) -> None:
    """Make `network` run as the trainer's settings say. Raises UserError where it cannot."""
    if trainer["tbptt"] is not None:
        _truncate(network, trainer["tbptt"])
    if trainer["compile"]:
        _compile(network, device)
    if device != "cpu":
        # The backward passes of the fast attention kernels add up in no fixed order.
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)


def _truncate(network: Network, steps: int) -> None:
    carriers = [it for it in network.modules() if isinstance(it, RecurrentEncoder)]
    if not carriers or not all(it.truncates for it in carriers):
        raise UserError(
            f"The trainer's `tbptt` is {steps}, but the model has no state to carry on: rnn, lstm "
            "and gru in one direction have. Set trainer.tbptt=null."
        )
    for carrier in carriers:
        carrier.truncate = steps


def _compile(network: Network, device: str) -> None:
    if any(isinstance(it, RecurrentEncoder) for it in network.modules()):
        raise UserError(
            "The trainer's `compile` is true, but the model is recurrent: it has a kernel of its "
            "own, and to compile its steps takes hours. Set trainer.compile=false."
        )
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if device == "cpu" and not any(shutil.which(name) for name in compilers if name):
        raise UserError(
            "The trainer's `compile` is true, but there is no C++ compiler here. Install g++, name "
            "another one in CXX, or set trainer.compile=false."
        )
    network.compile()
