"""What a forward pass costs, in floating-point operations."""

from lookback.data.task import Facts
from lookback.models.network import Network


def forward_flops(network: Network, facts: Facts) -> float:
    """FLOPs of a forward pass of one sequence: a product and a sum a weight and step."""
    return 2.0 * facts.length * sum(parameter.numel() for parameter in network.parameters())
