"""Linear recurrent units: a diagonal complex recurrence without a nonlinearity in time.

z_0 = W_e x + b_e                                        at each step
u_l = LN(z_l)
s_t = Λ ⊙ s_{t-1} + exp(γ_log) ⊙ (B u_t)                 s_{-1} = 0, N complex numbers
Λ   = exp(-exp(ν_log) + i exp(θ_log))                    so |Λ| < 1, whatever training does
y_t = Re(C s_t) + D ⊙ u_t
z_{l+1} = z_l + GLU(GELU(y))                             GLU(v) = (W_1 v + b_1) ⊙ σ(W_2 v + b_2)
feature = z_L at the query

Orvieto et al. 2023, "Resurrecting recurrent neural networks for long sequences", section 3 and
appendix A. Of the paper's two norms and two channel mixers a block has LN (which sees one step at
a time, so that padding changes nothing and there is a `step`) and GLU. Dropout is after GELU and
after GLU. Bidirectional as in Smith et al. 2023, "Simplified state space layers for sequence
modeling" (S5): the same Λ and B also run from the end, and C reads both states.
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
    """Blocks of `hidden_size` channels, H, each around a recurrence of `modes`, N.

    A state is real: the real and the imaginary part of each mode in turn, 2 N a layer, and the
    whole state is one flat (B, S), S = layers · 2 N. Trace: states «hidden/l», and, in two
    directions, «hidden_reverse/l»; no gates.
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
                f"The model's ring reaches from `r_min` {r_min} to `r_max` {r_max}. "
                "Let 0 ≤ r_min < r_max ≤ 1."
            )
        if not 0 < max_phase <= tau:
            raise UserError(
                f"The model's `max_phase` is {max_phase}. Make it more than 0, and 2π at most."
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
        """The output (B, H) of one step and the next state (B, S), by the equations.

        Raises NotApplicable in two directions.
        """
        if self.bidirectional:
            raise NotApplicable("an LRU of two directions has no single step")
        z, following = self.enter(input), list[Tensor]()
        for block, s in zip(self._each(), state.chunk(self.layers, dim=1), strict=True):
            u = block.norm(z)
            following.append(block.advance(s, block.drive(u)))
            z = block.added(z, u, following[-1])
        return z, torch.cat(following, dim=1)

    def outputs(
        self, inputs: Float[Tensor, "batch time feature"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time hidden"]:
        """z_L at every step, by a parallel scan."""
        z = self.enter(inputs)
        for block in self._each():
            u = block.norm(z)
            drive = block.drive(u)
            coefficients = block.eigenvalues().expand(1, z.shape[1], -1)
            states = scan(coefficients, drive)
            if self.bidirectional:
                from_end = scan(coefficients, zero_past(drive, lengths), from_end=True)
                states = torch.cat([states, from_end], dim=-1)
            z = block.added(z, u, _as_real(states))
        return cast("Tensor", z)

    def trace(
        self,
        inputs: Float[Tensor, "batch time feature"],
        lengths: Int[Tensor, " batch"],
        query: Int[Tensor, "batch query"],
        *,
        differentiable: bool = False,
    ) -> Trace:
        """The same one step after another, with the states of every block."""
        path = dict[str, Sequence[Tensor]]()
        states = dict[str, Tensor]()
        with torch.set_grad_enabled(differentiable):
            z = self.enter(inputs)
            for layer, block in enumerate(self._each()):
                u = block.norm(z)
                drive = block.drive(u)
                path[f"hidden/{layer}"] = block.unrolled(drive.unbind(1))
                if self.bidirectional:
                    from_end = block.unrolled(zero_past(drive, lengths).unbind(1)[::-1])
                    path[f"hidden_reverse/{layer}"] = from_end[::-1]
                mine = [name for name in path if name not in states]
                states |= {name: torch.stack(list(path[name]), dim=1) for name in mine}
                z = block.added(z, u, torch.cat([states[name] for name in mine], dim=-1))
            return Trace(at_queries(z, query), states, path=path)

    def log_decays(self) -> list[Float[Tensor, " unit"]]:
        """Of each mode ln |Λ|; not by way of |Λ|, which may round to 1."""
        return [-block.nu_log.detach().exp() for block in self._each()]

    def initialise(self, initialisation: Initialisation) -> None:
        """Λ, B, C, D and γ as in the paper; W_e, W_1 and W_2 as `input` says, their biases zero.

        The recipe's `recurrent` and forget bias have nothing here to act on.
        """
        fill_linear(self.enter, initialisation.input)
        for block in self._each():
            block.initialise(initialisation, *self.ring)

    def _each(self) -> list["LRUBlock"]:
        return cast("list[LRUBlock]", list(self.blocks))


class LRUBlock(nn.Module):
    """One recurrence, and what stands around it."""

    def __init__(self, hidden_size: int, modes: int, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        read = (1 + bidirectional) * modes
        self.norm = nn.LayerNorm(hidden_size)
        self.nu_log = nn.Parameter(torch.empty(modes))
        self.theta_log = nn.Parameter(torch.empty(modes))
        self.gamma_log = nn.Parameter(torch.empty(modes))
        self.b_real = nn.Parameter(torch.empty(modes, hidden_size))
        self.b_imag = nn.Parameter(torch.empty(modes, hidden_size))
        self.c_real = nn.Parameter(torch.empty(hidden_size, read))
        self.c_imag = nn.Parameter(torch.empty(hidden_size, read))
        self.d = nn.Parameter(torch.empty(hidden_size))
        self.gate = nn.Linear(hidden_size, 2 * hidden_size)
        self.drop = nn.Dropout(dropout)

    def eigenvalues(self) -> Complex[Tensor, " mode"]:
        """Λ, in double precision: its powers over thousands of steps are what counts."""
        nu, theta = torch.exp(self.nu_log.double()), torch.exp(self.theta_log.double())
        return torch.polar(torch.exp(-nu), theta)

    def drive(self, u: Float[Tensor, "*shape hidden"]) -> Complex[Tensor, "*shape mode"]:
        """exp(γ_log) ⊙ (B u), by one real product whose rows are Re B and Im B in turn."""
        both = torch.stack([self.b_real, self.b_imag], dim=1)
        scaled = torch.exp(self.gamma_log)[:, None, None] * both
        driven = functional.linear(u, scaled.flatten(0, 1))
        return _as_complex(driven.to(self.gamma_log.dtype))  # of mixed precision: not half a number

    def advance(
        self, state: Float[Tensor, "batch state"], drive: Complex[Tensor, "batch mode"]
    ) -> Float[Tensor, "batch state"]:
        """The next state, as real numbers, from this one."""
        return _advanced(self.eigenvalues(), state, drive)

    def unrolled(
        self, drives: Sequence[Complex[Tensor, "batch mode"]]
    ) -> list[Float[Tensor, "batch state"]]:
        """Each state after the other from zero."""
        eigenvalues, state = self.eigenvalues(), _as_real(torch.zeros_like(drives[0]))
        found = list[Tensor]()
        for drive in drives:
            state = _advanced(eigenvalues, state, drive)
            found.append(state)
        return found

    def added(
        self,
        z: Float[Tensor, "*shape hidden"],
        u: Float[Tensor, "*shape hidden"],
        states: Float[Tensor, "*shape state"],
    ) -> Float[Tensor, "*shape hidden"]:
        """z_{l+1}; Re(C s) is one real product, of Re C and -Im C in turn."""
        read = torch.stack([self.c_real, -self.c_imag], dim=-1).flatten(1)
        y = torch.addcmul(functional.linear(states, read), self.d, u)
        mixed = functional.glu(self.gate(self.drop(functional.gelu(y))), dim=-1)
        return z + cast("Tensor", self.drop(mixed))

    @torch.no_grad()
    def initialise(
        self, initialisation: Initialisation, r_min: float, r_max: float, max_phase: float
    ) -> None:
        """Λ uniform on the ring between two radii, up to a phase (lemma 3.2); γ = √(1 - |Λ|²)."""
        self.norm.reset_parameters()
        # Ends of the interval have no logarithm: |Λ| = 0 and |Λ| = 1.
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
    """Λ ⊙ s + drive in Λ's precision, rounded once."""
    return _as_real((eigenvalues * _as_complex(state) + drive).to(drive.dtype))


def _as_complex(parts: Float[Tensor, "*shape parts"]) -> Complex[Tensor, "*shape mode"]:
    return torch.view_as_complex(parts.view(*parts.shape[:-1], -1, 2))


def _as_real(numbers: Complex[Tensor, "*shape mode"]) -> Float[Tensor, "*shape parts"]:
    return torch.view_as_real(numbers).flatten(-2)
