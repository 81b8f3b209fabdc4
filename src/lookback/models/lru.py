"""Linear recurrent unit [orvieto2023], a recurrence that is linear, diagonal and complex.

z_0 = W_e x + b_e                                        at each step
u_l = LN(z_l)
s_t = Λ ⊙ s_{t-1} + exp(γ_log) ⊙ (B u_t)                 s_{-1} = 0, N complex numbers
Λ   = exp(-exp(ν_log) + i exp(θ_log))                    so |Λ| < 1 for any parameters
y_t = Re(C s_t) + D ⊙ u_t
z_{l+1} = z_l + GLU(GELU(y))                             GLU(v) = (W_1 v + b_1) ⊙ σ(W_2 v + b_2)
feature = z_L at the query

The equations are from section 3 and appendix A of [orvieto2023]. Of the two normalisations and the
two channel mixers in [orvieto2023], our block uses layer norm (LN) and GLU. LN normalises each step
separately, so padding changes no feature, and the model can run one step at a time (`step`).
Dropout acts after GELU and after GLU. As in S5 [smith2023], the bidirectional model also runs the
recurrence from the last step to the first, with the same Λ and B, and C reads both states.
"""

from collections.abc import Sequence
from math import tau
from typing import cast

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lookback.errors import NotApplicable, UserError
from lookback.models.base import Initialisation, RecurrentEncoder, Trace, at_queries
from lookback.models.scan import scan, zero_past
from lookback.models.sizes import require_dropout
from lookback.models.weights import fill_linear
from lookback.runtime.settings import require_positive


class LRU(RecurrentEncoder):
    """A stack of LRU blocks with H = `hidden_size` channels and N = `modes` complex modes each.

    A layer's state is stored as 2 N real numbers, the real part and then the imaginary part of each
    mode. The states of all layers form one tensor (B, S) with S = layers · 2 N. A trace contains
    the state «hidden/l» of each layer l, and no gates. The trace of a bidirectional model also
    contains the states «hidden_reverse/l».
    """

    def __init__(
        self,
        features: int,
        hidden_size: int,
        layers: int,
        modes: int,
        r_min: float,
        r_max: float,
        max_phase: float,
        dropout: float,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        require_positive("model", hidden_size=hidden_size, layers=layers, modes=modes)
        require_dropout(dropout)
        if not 0 <= r_min < r_max <= 1:
            raise UserError(
                f"The model's `r_min` is {r_min} and its `r_max` is {r_max}. "
                "Choose them so that 0 ≤ r_min < r_max ≤ 1."
            )
        if not 0 < max_phase <= tau:
            raise UserError(
                f"The model's `max_phase` is {max_phase}. Make it greater than 0 and 2π at most."
            )
        self.ring = (r_min, r_max, max_phase)
        self.enter = nn.Linear(features, hidden_size)
        self.blocks = nn.ModuleList(
            LRUBlock(hidden_size, modes, dropout, bidirectional) for _ in range(layers)
        )
        self.output_size = hidden_size
        self.layers = layers
        self.state_size = layers * 2 * modes
        self.bidirectional = bidirectional

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state before the first step: zeros (B, S)."""
        return self.enter.weight.new_zeros(batch, self.state_size)

    def step(
        self, input: Float[Tensor, "batch feature"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output (B, H) and the next state (B, S), computed for one step by the equations.

        Raises NotApplicable if the model is bidirectional.
        """
        if self.bidirectional:
            raise NotApplicable("a bidirectional LRU has no single step")
        z, following = self.enter(input), list[Tensor]()
        for block, s in zip(self._typed_blocks(), state.chunk(self.layers, dim=1), strict=True):
            u = block.norm(z)
            following.append(block.advance(s, block.drive(u)))
            z = block.output(z, u, following[-1])
        return z, torch.cat(following, dim=1)

    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """The last block's output z_L at every step, computed by a parallel scan."""
        z = self.enter(inputs)
        for block in self._typed_blocks():
            u = block.norm(z)
            drive = block.drive(u)
            coefficients = block.eigenvalues().expand(1, z.shape[1], -1)
            states = scan(coefficients, drive)
            if self.bidirectional:
                from_end = scan(coefficients, zero_past(drive, lengths), from_end=True)
                states = torch.cat([states, from_end], dim=-1)
            z = block.output(z, u, _as_real(states))
        return cast("Tensor", z)

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The features of `forward`, computed step by step, and the states of every block."""
        path = dict[str, Sequence[Tensor]]()
        states = dict[str, Tensor]()
        with torch.set_grad_enabled(differentiable):
            z = self.enter(inputs)
            for layer, block in enumerate(self._typed_blocks()):
                u = block.norm(z)
                drive = block.drive(u)
                path[f"hidden/{layer}"] = block.unrolled(drive.unbind(1))
                if self.bidirectional:
                    from_end = block.unrolled(zero_past(drive, lengths).unbind(1)[::-1])
                    path[f"hidden_reverse/{layer}"] = from_end[::-1]
                new_names = [name for name in path if name not in states]
                states |= {name: torch.stack(list(path[name]), dim=1) for name in new_names}
                z = block.output(z, u, torch.cat([states[name] for name in new_names], dim=-1))
            return Trace(at_queries(z, query), states, path=path)

    def log_decays(self) -> list[Float[Tensor, " unit"]]:
        """The logarithm ln |Λ| = -exp(ν_log) of each mode, one tensor per layer.

        The logarithm is not computed from |Λ|, because |Λ| may round to 1, whose logarithm is 0.
        """
        return [-block.nu_log.detach().exp() for block in self._typed_blocks()]

    def initialise(self, initialisation: Initialisation) -> None:
        """Initialise Λ, γ, B, C and D as in [orvieto2023], and W_e, W_1 and W_2 by `input`.

        The setting `input` is part of the recipe. The recipe's settings `recurrent` and
        `forget_bias` have no effect on an LRU. The biases b_e, b_1 and b_2 are set to zero.
        """
        fill_linear(self.enter, initialisation.input)
        for block in self._typed_blocks():
            block.initialise(initialisation, *self.ring)

    def _typed_blocks(self) -> list["LRUBlock"]:
        return cast("list[LRUBlock]", list(self.blocks))


class LRUBlock(nn.Module):
    """One LRU block: layer norm, complex recurrence, GELU, GLU and a residual connection."""

    def __init__(self, hidden_size: int, modes: int, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        modes_read = (1 + bidirectional) * modes
        self.norm = nn.LayerNorm(hidden_size)
        self.nu_log = nn.Parameter(torch.empty(modes))
        self.theta_log = nn.Parameter(torch.empty(modes))
        self.gamma_log = nn.Parameter(torch.empty(modes))
        self.b_real = nn.Parameter(torch.empty(modes, hidden_size))
        self.b_imag = nn.Parameter(torch.empty(modes, hidden_size))
        self.c_real = nn.Parameter(torch.empty(hidden_size, modes_read))
        self.c_imag = nn.Parameter(torch.empty(hidden_size, modes_read))
        self.d = nn.Parameter(torch.empty(hidden_size))
        self.gate = nn.Linear(hidden_size, 2 * hidden_size)
        self.drop = nn.Dropout(dropout)

    def eigenvalues(self) -> Complex[Tensor, " mode"]:
        """Λ in double precision, because the model uses powers of Λ over thousands of steps."""
        nu, theta = torch.exp(self.nu_log.double()), torch.exp(self.theta_log.double())
        return torch.polar(torch.exp(-nu), theta)

    def drive(self, u: Float[Tensor, "*shape hidden"]) -> Complex[Tensor, "*shape mode"]:
        """exp(γ_log) ⊙ (B u), as one real product in which the rows of Re B and Im B alternate."""
        both = torch.stack([self.b_real, self.b_imag], dim=1)
        scaled = torch.exp(self.gamma_log)[:, None, None] * both
        driven = functional.linear(u, scaled.flatten(0, 1))
        # With mixed precision, `driven` is bfloat16, for which torch has no complex type.
        return _as_complex(driven.to(self.gamma_log.dtype))

    def advance(
        self, state: Float[Tensor, "batch state"], drive: Complex[Tensor, "batch mode"]
    ) -> Float[Tensor, "batch state"]:
        """The next state Λ ⊙ s + `drive`, where s is `state`. Both are stored as real numbers."""
        return _advanced(self.eigenvalues(), state, drive)

    def unrolled(
        self, drives: Sequence[Complex[Tensor, "batch mode"]]
    ) -> list[Float[Tensor, "batch state"]]:
        """The states of all steps, computed step by step from a zero initial state."""
        eigenvalues, state = self.eigenvalues(), _as_real(torch.zeros_like(drives[0]))
        states = list[Tensor]()
        for drive in drives:
            state = _advanced(eigenvalues, state, drive)
            states.append(state)
        return states

    def output(
        self,
        z: Float[Tensor, "*shape hidden"],
        u: Float[Tensor, "*shape hidden"],
        states: Float[Tensor, "*shape state"],
    ) -> Float[Tensor, "*shape hidden"]:
        """The block's output z_{l+1}.

        Re(C s) is computed as one real product, in which the columns of Re C and -Im C alternate.
        """
        c = torch.stack([self.c_real, -self.c_imag], dim=-1).flatten(1)
        y = torch.addcmul(functional.linear(states, c), self.d, u)
        mixed = functional.glu(self.gate(self.drop(functional.gelu(y))), dim=-1)
        return z + cast("Tensor", self.drop(mixed))

    @torch.no_grad()
    def initialise(
        self, initialisation: Initialisation, r_min: float, r_max: float, max_phase: float
    ) -> None:
        """Draw Λ uniformly from a sector of a ring (lemma 3.2 of [orvieto2023]).

        The modulus |Λ| is between r_min and r_max, and the phase of Λ is between 0 and `max_phase`.
        γ is set to √(1 - |Λ|²). B, C and D are drawn from normal distributions.
        """
        self.norm.reset_parameters()
        # The clamp excludes 0 and 1, for which a logarithm in the next lines could be infinite.
        u1, u2 = (torch.rand_like(self.nu_log).clamp(1e-6, 1 - 1e-6) for _ in range(2))
        self.nu_log.copy_(torch.log(-0.5 * torch.log(u1 * (r_max**2 - r_min**2) + r_min**2)))
        self.theta_log.copy_(torch.log(max_phase * u2))
        self.gamma_log.copy_(0.5 * torch.log1p(-self.eigenvalues().abs().square()))
        modes, hidden_size = self.b_real.shape
        for part in (self.b_real, self.b_imag):
            nn.init.normal_(part, std=(2 * hidden_size) ** -0.5)
        for part in (self.c_real, self.c_imag):
            nn.init.normal_(part, std=modes**-0.5)
        nn.init.normal_(self.d)
        fill_linear(self.gate, initialisation.input, blocks=2)


def _advanced(eigenvalues: Tensor, state: Tensor, drive: Tensor) -> Tensor:
    """Λ ⊙ s + drive, computed in Λ's precision and rounded once."""
    return _as_real((eigenvalues * _as_complex(state) + drive).to(drive.dtype))


def _as_complex(parts: Float[Tensor, "*shape parts"]) -> Complex[Tensor, "*shape mode"]:
    return torch.view_as_complex(parts.view(*parts.shape[:-1], -1, 2))


def _as_real(numbers: Complex[Tensor, "*shape mode"]) -> Float[Tensor, "*shape parts"]:
    return torch.view_as_real(numbers).flatten(-2)
