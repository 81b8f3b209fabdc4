"""Find the lag at which the skill of one seed falls to one half, by a monotone fit.

skill(lag) ≈ top / (1 + (lag / middle)^steepness)      0 < top ≤ 1, steepness > 0

In ln lag, the curve is a falling logistic function. It is fitted to single answers by least
squares. `top` is 1 unless a free `top` is better by the criterion of [schwarz1978]. Steep and slow
curves have the same three parameters, and the fit uses all answers. A rule that takes the first bin
of lags below one half would end a slow curve at the first unlucky bin.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from lookback.summarise.seed_intervals import Numbers

# Parameters: ln middle, in units of the range of ln lag; ln steepness; top.
GRID = (np.linspace(-0.1, 1.1, 25), np.log(np.geomspace(0.2, 50, 9)))
HALF = 0.5
BOUNDS = ((-5.0, math.log(0.05), 0.02), (6.0, math.log(200.0), 1.0))


class Crossing(NamedTuple):
    """Where a fitted curve is one half, in ln lag.

    `place` is −∞ if the curve is at or below one half at the shortest lag, and ∞ if the curve is
    above one half at the longest lag. `influence` has one entry per answer: how much more
    weight on this answer would move `place`, as a sum over all answers. It is 0 if `place` is
    infinite.
    """

    place: float
    influence: Numbers


def crossing(lag: Numbers, skill: Numbers) -> Crossing:
    """Where the skill falls to one half, for the answers of one seed.

    `lag` (at least 1, in steps) and `skill` have one entry per answer. The last few results are
    kept, because several quantities of one seed need the same fit.
    """
    return _crossing(lag.tobytes(), skill.tobytes())


@lru_cache(maxsize=16)
def _crossing(lag: bytes, answers: bytes) -> Crossing:
    x, skill = np.log(np.frombuffer(lag)), np.frombuffer(answers)
    curve = Curve.fitted(x, skill)
    still = np.zeros(len(x))
    ends = curve.values(np.array([x.min(), x.max()]))
    if ends[0] <= HALF:
        return Crossing(-math.inf, still)
    if ends[1] > HALF:
        return Crossing(math.inf, still)
    place = curve.half()
    slopes = curve.slopes(x)
    scores = slopes * (skill - curve.values(x))[:, None]
    information = slopes.T @ slopes
    step = np.linalg.pinv(information, hermitian=True, rcond=1e-10) @ curve.slopes(place)[0]
    return Crossing(float(place[0]), scores @ step / curve.fall(place)[0])


class Curve(NamedTuple):
    """The fitted curve, with ln middle, ln steepness and top. `free` parameters were fitted."""

    parameters: Numbers
    free: int

    @classmethod
    def fitted(cls, x: Numbers, skill: Numbers) -> "Curve":
        """The curve with the least squares; x is ln lag."""
        places, group = np.unique(x, return_inverse=True)
        if len(places) == 1:  # one lag has no fall
            level = float(skill.mean().clip(BOUNDS[0][2], BOUNDS[1][2]))
            return cls(np.array([x[0] + 50.0, 0.0, level]), 1)
        weight = np.bincount(group).astype(np.float64)
        mean = np.bincount(group, skill) / weight
        within = float(((skill - mean[group]) ** 2).sum())
        fits = []
        for free in (2, 3):
            parameters, squares = _least_squares(places, mean, weight, free)
            error = max(within + squares, 1e-9) / len(x)
            fits.append((len(x) * math.log(error) + free * math.log(len(x)), parameters, free))
        _, parameters, free = min(fits, key=lambda fit: fit[0])
        return cls(parameters, free)

    def values(self, x: Numbers) -> Numbers:
        """The fitted skill at ln lag."""
        middle, steepness, top = self.parameters
        skill: Numbers = top * special.expit(-np.exp(steepness) * (x - middle))
        return skill

    def slopes(self, x: Numbers) -> Numbers:
        """The derivatives of the skill with respect to the free parameters, as (x, parameter)."""
        middle, steepness, top = self.parameters
        k = np.exp(steepness)
        share = special.expit(-k * (x - middle))
        bend = top * share * (1 - share)
        return np.stack([k * bend, -k * (x - middle) * bend, share], axis=-1)[:, : self.free]

    def fall(self, x: Numbers) -> Numbers:
        """How fast the skill falls with ln lag."""
        fall: Numbers = self.slopes(x)[:, 0]
        return fall

    def half(self) -> Numbers:
        """The ln lag at which the curve is one half, which must lie below `top`."""
        middle, steepness, top = self.parameters
        return np.array([middle - special.logit(HALF / top) / np.exp(steepness)])


def _least_squares(
    places: Numbers, mean: Numbers, weight: Numbers, free: int
) -> tuple[Numbers, float]:
    """The best parameters with `free` of them fitted, and the sum of squares that is left."""
    start, extent = places[0], places[-1] - places[0]
    root = np.sqrt(weight)

    def curve(parameters: Numbers) -> Curve:
        middle, steepness, top = [*parameters, 1.0][:3]
        return Curve(np.array([start + extent * middle, steepness, top]), free)

    def misses(parameters: Numbers) -> Numbers:
        return root * (curve(parameters).values(places) - mean)

    def derivatives(parameters: Numbers) -> Numbers:
        slopes = curve(parameters).slopes(places)
        slopes[:, 0] *= extent
        return root[:, None] * slopes

    middle, steepness = (axis.ravel() for axis in np.meshgrid(*GRID))
    shares = special.expit(
        -np.exp(steepness)[:, None] * (places - start - extent * middle[:, None])
    )
    tops = np.ones(len(middle))
    if free == 3:
        tops = (shares * weight) @ mean / ((shares**2) @ weight).clip(min=1e-12)
        tops = tops.clip(BOUNDS[0][2], BOUNDS[1][2])
    best = int(((tops[:, None] * shares - mean) ** 2 @ weight).argmin())
    first = np.array([middle[best], steepness[best], min(tops[best], 0.999)])[:free]
    bounds = (BOUNDS[0][:free], BOUNDS[1][:free])
    found = optimize.least_squares(misses, first, derivatives, bounds=bounds, x_scale="jac")
    return curve(found.x).parameters, 2 * float(found.cost)
