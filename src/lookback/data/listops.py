"""ListOps [nangia2018]: what is the value of a nested list expression?

    [ MAX 2 9 [ MIN 4 7 ] 0 ]  =  9

The generator follows the Long Range Arena [tay2021]. An expression is a tree of nodes, and the root
is an operator. A node between the root and the maximum depth is an operator with probability 1/4
and a digit with probability 3/4. A node at the maximum depth is always a digit. The number of
arguments of an operator is drawn uniformly from 2 to `arguments`. The operators MIN, MAX, MED (the
median, rounded down) and SM (the sum modulo 10) are equally likely.

The generator rejects expressions of fewer than `shortest` or more than `length` tokens. The
expressions of the Long Range Arena have 501 to 1999 tokens and a maximum depth of 10. Token 0 is
padding, tokens 1 … 10 are the digits 0 … 9, tokens 11 … 14 are the opening brackets of the
operators, and token 15 is the closing bracket.

The query at the last bracket asks for the value of the whole expression. All tokens of the
expression are evidence (inputs that decide the answer), because any digit may decide the value. The
lag of an answer is the number of steps from the first token of the expression to the query.

The most frequent value of the outermost operator needs no argument. A third of these answers is
right, because MAX is mostly 9 or 8, and MIN is mostly 0 or 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.baselines import Baseline, most_frequent_given, shortcut
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask
from lookback.errors import UserError

Nodes = Int[np.ndarray, " _"]  # one integer per node of a depth

OPERATOR_SHARE = 0.25
DIGIT, OPERATORS, CLOSE = 1, 11, 15  # tokens of digit 0, operator MIN and the closing bracket
CHUNK = 2048  # number of ListOps expressions that are drawn at once
RAREST = 10_000  # maximum number of drawn expressions per accepted expression


@dataclass(frozen=True)
class Level:
    """The nodes at one depth of all expression trees, by expression, then from left to right."""

    tree: Nodes  # index of the expression that contains the node
    parent: Nodes  # index of the parent node among the nodes that are one level higher
    arguments: Nodes  # number of arguments of the node (0 for a digit)

    @property
    def is_operator(self) -> Bool[np.ndarray, " _"]:
        """For each node, whether the node is an operator and not a digit."""
        return self.arguments > 0

    @property
    def first(self) -> Nodes:
        """For each node, the index of its first argument among the nodes one level deeper."""
        return _sum_before(self.arguments)


class ListOps(GeneratedTask):
    """A task whose target is the value of a nested list expression."""

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
        seed: int | str,
        fresh: bool,
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        if depth < 2:
            raise UserError(f"depth: {depth} leaves no room for an operator; make it 2 or more.")
        if arguments < 2:
            raise UserError(f"arguments: {arguments}; an operator needs 2 or more.")
        if not 4 <= shortest <= length:
            raise UserError(
                f"shortest: {shortest}; an expression has at least 4 tokens and at most {length} "
                f"(`length`). Make `shortest` 4 to {max(length, 4)}, or `length` larger."
            )
        self.shortest, self.depth, self.arguments = shortest, depth, arguments

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences of T tokens, with the value of each expression as target (N, 1).

        Raises UserError if expressions of `shortest` to `length` tokens are too rare.
        """
        token_chunks = [np.zeros((0, self.length), dtype=np.int64)]
        value_chunks = [np.zeros(0, dtype=np.int64)]
        drawn = accepted = 0
        while accepted < count:
            levels = self._levels(generator)
            symbols = [_symbols(level, generator) for level in levels]
            token_chunks.append(_tokens(levels, symbols, self.length))
            value_chunks.append(_values(levels, symbols))
            drawn, accepted = drawn + CHUNK, accepted + len(value_chunks[-1])
            if drawn > RAREST * (accepted + 1):
                raise UserError(
                    f"Of {drawn:,} expressions of `depth` {self.depth} with {self.arguments} "
                    f"`arguments`, {accepted} have {self.shortest} to {self.length} tokens. "
                    "Make `shortest` smaller, or `depth` or `arguments` larger."
                )
        inputs = np.concatenate(token_chunks)[:count]
        values = np.concatenate(value_chunks)[:count]
        last = torch.from_numpy((inputs > 0).sum(axis=1) - 1)
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=last + 1,
            query=last.unsqueeze(1),
            target=torch.from_numpy(values).unsqueeze(1),
            lag=last.clone().unsqueeze(1),
            evidence=expression_steps,
        )

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The most frequent value of the outermost operator, which is the first token."""
        operator, test_operator = (data.inputs[:, 0] for data in (train, test))
        answers = most_frequent_given(operator, train.target[:, 0], test_operator)
        return [shortcut("outermost operator alone", answers.unsqueeze(1), test)]

    def _levels(self, generator: np.random.Generator) -> list[Level]:
        """Draw CHUNK expressions, and keep the expressions of `shortest` to `length` tokens."""
        levels: list[Level] = []
        tree, parent, lengths = np.arange(CHUNK), *np.zeros((2, CHUNK), dtype=np.int64)
        for depth in range(1, self.depth + 1):
            share = {1: 1.0, self.depth: 0.0}.get(depth, OPERATOR_SHARE)
            is_operator = generator.random(len(tree)) < share
            arguments = generator.integers(2, self.arguments + 1, len(tree)) * is_operator
            lengths += np.bincount(tree, 1 + is_operator, CHUNK).astype(np.int64)
            # An expression that already has too many tokens gets no more nodes.
            arguments[lengths[tree] > self.length] = 0
            levels.append(Level(tree, parent, arguments))
            parent = np.repeat(np.arange(len(tree)), arguments)
            tree = tree[parent]
        return _select(levels, (lengths >= self.shortest) & (lengths <= self.length))


def _select(levels: list[Level], is_selected: Bool[np.ndarray, " tree"]) -> list[Level]:
    """A copy of `levels` that contains only the nodes of the selected expressions.

    In the returned levels, expressions and nodes are numbered from 0 without gaps.
    """
    selected = []
    new_tree = np.cumsum(is_selected) - 1
    new_parent = np.zeros(len(is_selected), dtype=np.int64)  # by index in the whole level above
    for level in levels:
        keep = is_selected[level.tree]
        tree, parent = new_tree[level.tree[keep]], new_parent[level.parent[keep]]
        selected.append(Level(tree, parent, level.arguments[keep]))
        new_parent = np.cumsum(keep) - 1
    return selected


def _sum_before(counts: Nodes) -> Nodes:
    """For each element of `counts`, the sum of all elements before the element."""
    sums: Nodes = np.cumsum(counts) - counts
    return sums


def _symbols(level: Level, generator: np.random.Generator) -> Nodes:
    """Draw an operator 0 … 3 for each operator node, and a digit 0 … 9 for each digit node."""
    return generator.integers(0, np.where(level.is_operator, CLOSE - OPERATORS, 10))


def _tokens(levels: list[Level], symbols: list[Nodes], length: int) -> Int[np.ndarray, "tree time"]:
    """The tokens of each expression, padded with zeros to `length` tokens."""
    sizes = [1 + level.is_operator for level in levels]  # tokens of each node's subtree
    for level, above, below in zip(levels[:0:-1], sizes[-2::-1], sizes[:0:-1], strict=True):
        above += np.bincount(level.parent, below, len(above)).astype(np.int64)
    tokens = np.zeros((len(sizes[0]), length), dtype=np.int64)
    starts = np.zeros(len(sizes[0]), dtype=np.int64)
    for depth, (level, symbol, size) in enumerate(zip(levels, symbols, sizes, strict=True)):
        if depth:
            before = _sum_before(size)
            first = levels[depth - 1].first[level.parent]
            starts = starts[level.parent] + 1 + before - before[first]
        tokens[level.tree, starts] = symbol + np.where(level.is_operator, OPERATORS, DIGIT)
        ends = (starts + size - 1)[level.is_operator]
        tokens[level.tree[level.is_operator], ends] = CLOSE
    return tokens


def _values(levels: list[Level], symbols: list[Nodes]) -> Nodes:
    """The value of each expression, computed from the deepest level upwards."""
    below = symbols[-1]
    for depth in range(len(levels) - 2, -1, -1):
        level, values = levels[depth], symbols[depth].copy()
        is_operator = level.is_operator
        if is_operator.any():
            first, count = level.first[is_operator], level.arguments[is_operator]
            ordered = below[np.lexsort((below, levels[depth + 1].parent))]
            median = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) // 2
            results = [ordered[first], ordered[first + count - 1], median]
            results.append(np.add.reduceat(below, first) % 10)
            values[is_operator] = np.choose(symbols[depth][is_operator], results)
        below = values
    return below


def expression_steps(inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch 1 time"]:
    """The evidence of the value: all steps of the expression."""
    return (inputs > 0).unsqueeze(1)
