"""ListOps (Nangia and Bowman 2018), as in the Long Range Arena (Tay et al. 2021): nested lists.

    [ MAX 2 9 [ MIN 4 7 ] 0 ]  =  9

A node is an operator with probability 1/4, else a digit, and always a digit at the greatest depth;
an operator has 2 to `arguments` nodes under it, all numbers alike. The operators, all alike: MIN,
MAX, MED (the median, cut to an integer) and SM (the sum modulo 10). Expressions of fewer than
`shortest` or more than `length` tokens are drawn anew; the arena has 501 to 1999 of them, and
nodes to depth 10. Tokens: 0 past the end, 1 … 10 the digits, an opening bracket with its operator,
a closing bracket. The value is asked for at the last bracket.

The whole expression is the evidence: which digit decides depends on all the others. So the lag goes
back to its first token.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask
from lookback.errors import UserError

Nodes = Int[np.ndarray, " _"]  # as many as a depth has

OPERATOR_SHARE = 0.25
DIGIT, OPERATORS, CLOSE = 1, 11, 15  # tokens: of 0; of MIN, with MAX, MED, SM after it; of ]
CHUNK = 2048  # expressions drawn at once
RAREST = 10_000  # expressions drawn for one of the right length, before that counts as too rare


@dataclass(frozen=True)
class Level:
    """The nodes of one depth, of many expressions side by side, in their order."""

    tree: Nodes  # which expression a node is of
    parent: Nodes  # its place in the level above
    arguments: Nodes  # how many nodes are under it; 0: a digit

    @property
    def is_operator(self) -> Bool[np.ndarray, " _"]:
        """Whether a node is an operator, else it is a digit."""
        return self.arguments > 0

    @property
    def first(self) -> Nodes:
        """Where a node's first argument stands in the level below."""
        return _before(self.arguments)


class ListOps(GeneratedTask):
    """What is the value of the expression?"""

    features, outputs = CLOSE + 1, 10

    def __init__(
        self,
        length: int,
        shortest: int,
        depth: int,
        arguments: int,
        train: int,
        validation: int,
        test: int,
        seed: int,
    ):
        super().__init__(length, train, validation, test, seed)
        if depth < 2:
            raise UserError(f"depth: {depth} has no room for an operator; make it 2 or more.")
        if arguments < 2:
            raise UserError(f"arguments: {arguments}; make it 2 or more, as an operator has.")
        if not 4 <= shortest <= length:
            raise UserError(
                f"shortest: {shortest}; an expression has 4 tokens or more, and {length} at most "
                f"by `length`. Make `shortest` 4 to {max(length, 4)}, or `length` larger."
            )
        self.shortest, self.depth, self.arguments = shortest, depth, arguments

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Inputs (N, T), tokens; target (N, 1)."""
        written = [np.zeros((0, self.length), dtype=np.int64)]
        worth = [np.zeros(0, dtype=np.int64)]
        drawn = found = 0
        while found < count:
            levels = self._levels(generator)
            symbols = [_symbols(level, generator) for level in levels]
            written.append(_tokens(levels, symbols, self.length))
            worth.append(_values(levels, symbols))
            drawn, found = drawn + CHUNK, found + len(worth[-1])
            if drawn > RAREST * (found + 1):
                raise UserError(
                    f"Of {drawn:,} expressions of `depth` {self.depth} with {self.arguments} "
                    f"`arguments`, {found} have {self.shortest} to {self.length} tokens. "
                    "Make `shortest` smaller, or `depth` or `arguments` larger."
                )
        inputs, values = np.concatenate(written)[:count], np.concatenate(worth)[:count]
        last = torch.from_numpy((inputs > 0).sum(axis=1) - 1)
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=last + 1,
            query=last.unsqueeze(1),
            target=torch.from_numpy(values).unsqueeze(1),
            lag=last.clone().unsqueeze(1),
            evidence=within,
        )

    def _levels(self, generator: np.random.Generator) -> list[Level]:
        """Expressions of the lengths that are asked for, of `CHUNK` that were drawn."""
        levels: list[Level] = []
        tree, parent, lengths = np.arange(CHUNK), *np.zeros((2, CHUNK), dtype=np.int64)
        for depth in range(1, self.depth + 1):
            share = {1: 1.0, self.depth: 0.0}.get(depth, OPERATOR_SHARE)
            is_operator = generator.random(len(tree)) < share
            arguments = generator.integers(2, self.arguments + 1, len(tree)) * is_operator
            lengths += np.bincount(tree, 1 + is_operator, CHUNK).astype(np.int64)
            arguments[lengths[tree] > self.length] = 0  # too long already: let it grow no more
            levels.append(Level(tree, parent, arguments))
            parent = np.repeat(np.arange(len(tree)), arguments)
            tree = tree[parent]
        return _kept(levels, (lengths >= self.shortest) & (lengths <= self.length))


def _kept(levels: list[Level], wanted: Bool[np.ndarray, " tree"]) -> list[Level]:
    """The levels of the `wanted` expressions alone, numbered anew."""
    kept = []
    number = np.cumsum(wanted) - 1
    place = np.zeros(len(wanted), dtype=np.int64)  # of the level above, in what is kept of it
    for level in levels:
        own = wanted[level.tree]
        kept.append(Level(number[level.tree[own]], place[level.parent[own]], level.arguments[own]))
        place = np.cumsum(own) - 1
    return kept


def _before(counts: Nodes) -> Nodes:
    """The sum of the counts before each."""
    before: Nodes = np.cumsum(counts) - counts
    return before


def _symbols(level: Level, generator: np.random.Generator) -> Nodes:
    """A digit, 0 to 9, or an operator, 0 to 3, for each node."""
    return generator.integers(0, np.where(level.is_operator, CLOSE - OPERATORS, 10))


def _tokens(levels: list[Level], symbols: list[Nodes], length: int) -> Int[np.ndarray, "tree time"]:
    """The expressions as they are written, zeros after their ends."""
    sizes = [1 + level.is_operator for level in levels]  # of a node with all that is under it
    for level, above, below in zip(levels[:0:-1], sizes[-2::-1], sizes[:0:-1], strict=True):
        above += np.bincount(level.parent, below, len(above)).astype(np.int64)
    tokens = np.zeros((len(sizes[0]), length), dtype=np.int64)
    starts = np.zeros(len(sizes[0]), dtype=np.int64)
    for depth, (level, symbol, size) in enumerate(zip(levels, symbols, sizes, strict=True)):
        if depth:
            before = _before(size)
            first = levels[depth - 1].first[level.parent]
            starts = starts[level.parent] + 1 + before - before[first]
        tokens[level.tree, starts] = symbol + np.where(level.is_operator, OPERATORS, DIGIT)
        ends = (starts + size - 1)[level.is_operator]
        tokens[level.tree[level.is_operator], ends] = CLOSE
    return tokens


def _values(levels: list[Level], symbols: list[Nodes]) -> Nodes:
    """The value of each expression, from the deepest nodes up."""
    below = symbols[-1]
    for depth in range(len(levels) - 2, -1, -1):
        level, values = levels[depth], symbols[depth].copy()
        is_operator = level.is_operator
        if is_operator.any():
            first, count = level.first[is_operator], level.arguments[is_operator]
            ordered = below[np.lexsort((below, levels[depth + 1].parent))]
            median = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) // 2
            found = [ordered[first], ordered[first + count - 1], median]
            found.append(np.add.reduceat(below, first) % 10)
            values[is_operator] = np.choose(symbols[depth][is_operator], found)
        below = values
    return below


def within(inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence: the whole expression."""
    return (inputs > 0).unsqueeze(1)
