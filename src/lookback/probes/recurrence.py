"""The recurrence inside a network, for probes of a state that is carried from step to step."""

from lookback.applies import DoesNotApply
from lookback.models.base import RecurrentEncoder
from lookback.models.network import Network


def recurrent_encoder(network: Network) -> RecurrentEncoder:
    """The network's encoder, or the one that its attention stands on.

    Raises DoesNotApply where there is none, or where it reads in two directions.
    """
    outer = network.encoder
    inner = outer if isinstance(outer, RecurrentEncoder) else getattr(outer, "encoder", None)
    if not isinstance(inner, RecurrentEncoder):
        raise DoesNotApply(f"{type(outer).__name__} carries no state from step to step")
    if inner.bidirectional:
        raise DoesNotApply(f"a {type(inner).__name__} of two directions has no single state")
    return inner
