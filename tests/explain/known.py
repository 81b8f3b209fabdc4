"""Networks whose explanation is known by hand, or by the equations."""

import torch
from torch import Tensor, nn

from lookback.data.batch import Batch
from lookback.models.base import SequenceModel
from lookback.models.gru import GRU
from lookback.models.lstm import LSTM
from lookback.models.network import Network
from tests.shipped import make_layer


class Flat(SequenceModel):
    """All inputs side by side: with its head, a linear model of each step and feature."""

    def __init__(self, time: int, features: int):
        super().__init__()
        self.output_size = time * features

    def forward(self, inputs: Tensor, lengths: Tensor, query: Tensor) -> Tensor:
        inside = torch.arange(inputs.shape[1]) < lengths[:, None]
        flat = (inputs * inside.unsqueeze(-1)).flatten(1)
        return flat.unsqueeze(1).expand(-1, query.shape[1], -1)

    def trace(self, inputs, lengths, query, *, differentiable=False):
        raise NotImplementedError

    def initialise(self, initialisation):
        raise NotImplementedError


def linear(weight: Tensor) -> Network:
    """answer_c = Σ_t Σ_f weight[c, t, f] x[t, f] + 0.5; weight (C, T, F)."""
    network = Network(Flat(*weight.shape[1:]), len(weight)).to(weight.dtype)
    with torch.no_grad():
        network.head.weight.copy_(weight.flatten(1))
        network.head.bias.fill_(0.5)
    return network.eval()


class Squares(Flat):
    """The squares of all inputs side by side."""

    def forward(self, inputs: Tensor, lengths: Tensor, query: Tensor) -> Tensor:
        return super().forward(inputs.square(), lengths, query)


def quadratic(weight: Tensor) -> Network:
    """answer_c = Σ_t Σ_f weight[c, t, f] x[t, f]² + 0.5; weight (C, T, F)."""
    network = linear(weight)
    network.encoder = Squares(*weight.shape[1:])
    return network.eval()


def gated(name: str, features: int = 3, outputs: int = 4) -> Network:
    """Two layers of five, with dropout between them, in float64 and eval mode."""
    torch.manual_seed(0)
    kind = {"lstm": LSTM, "gru": GRU}[name]
    encoder = make_layer(kind, features, 5, layers=2, dropout=0.5)
    network = Network(encoder, outputs).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # away from the linear range
    return network.eval()


def by_the_equations(network: Network, inputs: Tensor, length: int) -> Tensor:
    """The answers (C,) of one sequence (T, F) at its last step, one `step` after the other."""
    state = network.encoder.initial_state(1)
    for row in inputs[:length]:
        output, state = network.encoder.step(row.unsqueeze(0), state)
    return network.head(output)[0]


def asked(inputs: Tensor, lengths: Tensor) -> Batch:
    """A batch asked once, at each last step."""
    query = lengths.unsqueeze(1) - 1
    return Batch(inputs, lengths, query, torch.zeros_like(query))


def state_of(network: nn.Module) -> dict:
    """All that an explainer may not touch."""
    return {
        "modes": [module.training for module in network.modules()],
        "gradients": [parameter.grad for parameter in network.parameters()],
        "requires": [parameter.requires_grad for parameter in network.parameters()],
        "weights": [parameter.detach().clone().tolist() for parameter in network.parameters()],
    }
