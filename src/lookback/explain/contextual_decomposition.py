"""Contextual decomposition of an LSTM: what one step adds to the answer [murdoch2018].

All states are split into h = β + γ and c = β_c + γ_c, where β comes from the chosen step.

L(y_1) = ½ (f(y_1 + b) − f(b) + f(y_1 + y_2 + b) − f(y_2 + b))   part of f(y_1 + y_2 + b) due to y_1
f ⊙ c_{t-1}   β: (L_β + L_b) ⊙ β_c                               all other products: γ
i ⊙ g         β: (L_β + L_b) ⊙ (L_β + L_b)                       all other products: γ
h             β: o ⊙ ½ (tanh(β_c) + tanh(c) − tanh(γ_c))         γ: the rest of h

L_β, L_γ and L_b = f(b) are the parts of a gate f, i or g due to β, γ and the bias b. The product of
the two bias parts of i and g belongs to β at the chosen step, and to γ at all other steps. The
input x_t of the chosen step belongs to β, and all other inputs to γ. The value of a step is the
part w · β of the answer w · h + b at the query, with the step as the chosen one. It is divided
evenly among the features of the step. The values of all steps have no common sum.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from lookback.data.batch import Batch
from lookback.errors import NotApplicable
from lookback.explain.base import Attribution, explained_answer, within
from lookback.models.base import reversed_within
from lookback.models.lstm import LSTM
from lookback.models.network import Network

# To limit memory, one pass has at most this many sequences × chosen steps × time steps.
STEPS_AT_ONCE = 65_536


class ContextualDecomposition:
    """The part of each step, for an lstm of one or two directions and any number of layers."""

    def __init__(self, sequences: int):
        self.sequences = sequences

    @torch.no_grad()
    def attribute(
        self,
        model: Network,
        batch: Batch,
        output: Int[Tensor, " batch"],
        *,
        background: Float[Tensor, "sequence time feature"],
        generator: torch.Generator,
    ) -> Attribution:
        """Attribute one logit, or one value in a regression task, as in `Explainer`.

        The returned `error` is |w · β + w · γ + b − answer|, the largest over the chosen steps.

        Raises NotApplicable if the model is not an lstm.
        """
        encoder, (count, time, features) = model.encoder, batch.inputs.shape
        if not isinstance(encoder, LSTM):
            raise NotApplicable(
                f"contextual decomposition is for an LSTM, and not for {type(encoder).__name__}"
            )
        if encoder.norms[0]:
            raise NotApplicable("contextual decomposition has no rules for LSTM with layer norm")
        weight, bias = model.head.weight[output], model.head.bias[output]
        answers = explained_answer(model, batch, output, batch.inputs)
        inside = within(batch.lengths, time)
        values, error = torch.zeros_like(batch.inputs), torch.zeros_like(answers)
        for chosen in torch.split(torch.arange(time), max(1, STEPS_AT_ONCE // (count * time))):
            repeated = _repeated(batch, len(chosen))
            at = chosen.to(batch.inputs.device).repeat_interleave(count)
            is_chosen = at.unsqueeze(1) == torch.arange(time, device=at.device)
            beta, gamma = _decomposed(encoder, repeated, is_chosen)
            rows = torch.arange(len(at), device=at.device), repeated.query[:, 0]
            parts = [
                (part[rows].view(-1, count, part.shape[-1]) * weight).sum(dim=-1)
                for part in (beta, gamma)
            ]
            values[:, chosen] = (parts[0].T * inside[:, chosen] / features).unsqueeze(-1)
            error = torch.maximum(error, (sum(parts) + bias - answers).abs().amax(dim=0))
        return Attribution(values, error)


def _repeated(batch: Batch, times: int) -> Batch:
    """The batch, `times` times one after the other, without its evidence and lags."""
    return Batch(
        *(
            field.repeat(times, *(1,) * (field.dim() - 1))
            for field in (batch.inputs, batch.lengths, batch.query, batch.target)
        )
    )


def _decomposed(
    encoder: LSTM, batch: Batch, is_chosen: Bool[Tensor, "batch time"]
) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch time hidden"]]:
    """β and γ of the outputs of the last layer, if the steps at which `is_chosen` are chosen."""
    inside = within(batch.lengths, batch.inputs.shape[1]).unsqueeze(-1)
    parts = [batch.inputs * (is_chosen.unsqueeze(-1) == chosen) for chosen in (True, False)]
    for layer in range(encoder.layers):
        of_directions = []
        for direction in range(encoder.directions):
            weights = encoder.kernel.all_weights[layer * encoder.directions + direction]
            given = [*parts, is_chosen.unsqueeze(-1).to(batch.inputs)]
            if direction:
                given = [reversed_within(values, batch.lengths) for values in given]
            found = _through(weights, *given)
            if direction:
                found = [reversed_within(part, batch.lengths) for part in found]
            of_directions.append(found)
        joined = zip(*of_directions, strict=True)
        parts = [torch.cat(part, dim=-1).masked_fill(~inside, 0.0) for part in joined]
    return parts[0], parts[1]


def _through(
    weights: Sequence[Tensor],
    beta_x: Float[Tensor, "batch time below"],
    gamma_x: Float[Tensor, "batch time below"],
    chosen: Float[Tensor, "batch time 1"],
) -> list[Float[Tensor, "batch time hidden"]]:
    """β and γ of the hidden states of one direction of a layer, from those of its inputs.

    `chosen` is 1 at the chosen steps, and 0 at all others.
    """
    w_x, w_h, b_x, b_h = weights
    beta_steps, gamma_steps = (functional.linear(part, w_x) for part in (beta_x, gamma_x))
    b_i, b_f, b_g, b_o = (b_x + b_h).chunk(4)
    zero = beta_x.new_zeros(len(beta_x), w_h.shape[1])
    beta, gamma, beta_c, gamma_c = zero, zero, zero, zero
    betas, gammas = [], []
    for t in range(beta_x.shape[1]):
        beta_z = (beta_steps[:, t] + functional.linear(beta, w_h)).chunk(4, dim=1)
        gamma_z = (gamma_steps[:, t] + functional.linear(gamma, w_h)).chunk(4, dim=1)
        beta_i, gamma_i, bias_i = _parts(torch.sigmoid, beta_z[0], gamma_z[0], b_i)
        beta_f, gamma_f, bias_f = _parts(torch.sigmoid, beta_z[1], gamma_z[1], b_f)
        beta_g, gamma_g, bias_g = _parts(torch.tanh, beta_z[2], gamma_z[2], b_g)
        o = torch.sigmoid(beta_z[3] + gamma_z[3] + b_o)
        i, f, g = beta_i + gamma_i + bias_i, beta_f + gamma_f + bias_f, beta_g + gamma_g + bias_g
        c = f * (beta_c + gamma_c) + i * g
        beta_c = (beta_f + bias_f) * beta_c + chosen[:, t] * bias_i * bias_g
        beta_c = beta_c + beta_i * (beta_g + bias_g) + bias_i * beta_g
        gamma_c = c - beta_c
        beta = o * (torch.tanh(beta_c) + torch.tanh(c) - torch.tanh(gamma_c)) / 2
        gamma = o * torch.tanh(c) - beta
        betas.append(beta)
        gammas.append(gamma)
    return [torch.stack(betas, dim=1), torch.stack(gammas, dim=1)]


def _parts(
    f: Callable[[Tensor], Tensor], beta: Tensor, gamma: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The parts of f(β + γ + bias) due to β, to γ and to the bias, where the bias comes first."""
    whole, alone = f(beta + gamma + bias), f(bias)
    with_beta, with_gamma = f(beta + bias), f(gamma + bias)
    of_beta = (with_beta - alone + whole - with_gamma) / 2
    of_gamma = (with_gamma - alone + whole - with_beta) / 2
    return of_beta, of_gamma, alone
