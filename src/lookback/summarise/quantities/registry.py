"""The table QUANTITIES of all quantities of the memory card, in the order of the card's columns.

To add a quantity, create a module in this folder with a function that computes the quantity. Then
add one row for the quantity to QUANTITIES. The memory card, the report, summarise/theory.py and the
upload to MLflow use QUANTITIES.
"""

from functools import partial

from lookback.summarise.quantities.base import (
    FACTOR,
    INPUTS,
    RATE,
    SEEDS,
    SHARE,
    SIGMA,
    STEPS,
    UNITS,
    Estimate,
    Quantity,
)
from lookback.summarise.quantities.context_needed import KEPT, context_needed
from lookback.summarise.quantities.decoding_distance import decoding_distance
from lookback.summarise.quantities.gradient_half_distance import (
    gradient_half_distance,
    jacobian_rate,
)
from lookback.summarise.quantities.linear_capacity import (
    linear_capacity,
    nonlinear_capacity,
    state_size,
)
from lookback.summarise.quantities.lyapunov_exponent import first_exponent
from lookback.summarise.quantities.memory_horizon import (
    DEFINITION,
    dead_seeds,
    horizon_spread,
    memory_horizon,
)
from lookback.summarise.quantities.noise_tolerance import noise_tolerance
from lookback.summarise.quantities.skill import skill
from lookback.summarise.quantities.time_constant import SLOW, timescale

QUANTITIES = (
    Quantity(
        name="horizon",
        label="memory horizon",
        unit=STEPS,
        probe="recall_by_lag",
        measure=memory_horizon,
        definition=DEFINITION,
        role="outcome",
        has_interval=True,
        may_be_censored=True,
        may_be_below=True,
    ),
    Quantity(
        name="dead_seeds",
        label="dead seeds",
        unit=SEEDS,
        probe="recall_by_lag",
        measure=dead_seeds,
        definition="the seeds whose skill is below the threshold at the shortest lag measured",
    ),
    Quantity(
        name="horizon_spread",
        label="spread of the horizon",
        unit=FACTOR,
        probe="recall_by_lag",
        measure=horizon_spread,
        definition="the longest horizon of a seed divided by the shortest, without dead seeds",
        may_be_censored=True,
    ),
    Quantity(
        name="half_distance_trained",
        label="gradient half-distance, trained",
        unit=STEPS,
        probe="gradient_flow",
        measure=partial(gradient_half_distance, stage="trained"),
        definition="the steps before the answer at which ‖∂L/∂h_t‖ is half of its value at the "
        "answer, median over seeds; «≥» if it is more than half at all distances",
        role="theory",
        may_be_censored=True,
    ),
    Quantity(
        name="half_distance_initial",
        label="gradient half-distance, before training",
        unit=STEPS,
        probe="gradient_flow",
        measure=partial(gradient_half_distance, stage="initial"),
        definition="the same for the network before training",
        role="initial theory",
        may_be_censored=True,
    ),
    Quantity(
        name="lyapunov",
        label="first Lyapunov exponent",
        unit=RATE,
        probe="lyapunov",
        measure=first_exponent,
        definition="the rate at which a small change of the whole state grows forwards in time",
        role="theory",
    ),
    Quantity(
        name="lyapunov_initial",
        label="first Lyapunov exponent, before training",
        unit=RATE,
        probe="lyapunov",
        measure=partial(first_exponent, stage="initial"),
        definition="the same for the network before training",
        role="initial theory",
        is_shown=False,
        is_tracked=False,
    ),
    Quantity(
        name="jacobian_rate",
        label="backward rate",
        unit=RATE,
        probe="gradient_flow",
        measure=jacobian_rate,
        definition="the rate of ‖∂s_T/∂s_t‖ by T − t; in theory equal to the exponent",
        is_tracked=False,
    ),
    Quantity(
        name="rate_difference",
        label="difference of backward rate and exponent",
        unit=RATE,
        probe="",
        measure=lambda row: Estimate(abs(row["jacobian_rate"] - row["lyapunov"])),
        definition="without its sign",
        is_shown=False,
        is_tracked=False,
    ),
    Quantity(
        name="capacity",
        label="linear memory capacity",
        unit=INPUTS,
        probe="memory_capacity",
        measure=linear_capacity,
        definition="how many past inputs, at the scale of the task's own inputs, a linear read-out "
        "recovers, summed over delays",
        role="theory",
    ),
    Quantity(
        name="capacity_initial",
        label="linear memory capacity, before training",
        unit=INPUTS,
        probe="memory_capacity",
        measure=partial(linear_capacity, stage="initial"),
        definition="the same for the network before training",
        role="initial theory",
        is_shown=False,
        is_tracked=False,
    ),
    Quantity(
        name="nonlinear_capacity",
        label="nonlinear memory capacity",
        unit=INPUTS,
        probe="memory_capacity",
        measure=partial(nonlinear_capacity, stage="trained"),
        definition="how many nonlinear functions of past inputs a linear read-out recovers",
        role="theory",
        is_shown=False,
        is_tracked=False,
    ),
    Quantity(
        name="nonlinear_capacity_initial",
        label="nonlinear memory capacity, before training",
        unit=INPUTS,
        probe="memory_capacity",
        measure=partial(nonlinear_capacity, stage="initial"),
        definition="the same for the network before training",
        role="initial theory",
        is_shown=False,
        is_tracked=False,
    ),
    Quantity(
        name="state_size",
        label="units of the state",
        unit=UNITS,
        probe="memory_capacity",
        measure=state_size,
        definition="a plain rival of the theory",
        role="rival",
        is_shown=False,
        is_tracked=False,
    ),
    Quantity(
        name="timescale",
        label="time constant of the gates",
        unit=STEPS,
        probe="gate_timescales",
        measure=timescale,
        definition=f"the {100 * SLOW:.0f}th percentile over units",
        role="theory",
    ),
    Quantity(
        name="noise_tolerance",
        label="noise tolerance of the state",
        unit=SIGMA,
        probe="state_noise",
        measure=noise_tolerance,
        definition="the σ of the noise on each unit at each step that halves the skill",
        role="half behavioural",
        may_be_censored=True,
    ),
    Quantity(
        name="decoding",
        label="decoding distance",
        unit=STEPS,
        probe="state_decoding",
        measure=decoding_distance,
        definition="up to which a linear read-out finds half of the evidence it finds at once",
        role="half behavioural",
        may_be_censored=True,
    ),
    Quantity(
        name="context",
        label="context needed",
        unit=STEPS,
        probe="effective_context",
        measure=context_needed,
        definition=f"the fewest last steps that give {KEPT:.0%} of the skill",
    ),
    Quantity(
        name="skill",
        label="skill",
        unit=SHARE,
        probe="",
        measure=skill,
        definition="the test score from 0 (trivial baseline) to 1 (every answer right)",
        is_tracked=False,
    ),
)
BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}
PROBES = frozenset(quantity.probe for quantity in QUANTITIES if quantity.probe)
