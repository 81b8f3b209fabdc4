"""Multi-query associative recall (MQAR) is to recall the values of keys from key-value pairs.

The task follows section 3 and the appendix of [arora2023]. The sequence starts with D pairs of a
key and a value, k_1 v_1 … k_D v_D. After the D pairs, each key appears once more, and a query at
the second appearance of the key asks for the value of the key. With the vocabulary size V, the keys
are different tokens in 1 … V/2 − 1, and the values are different tokens in V/2 … V − 1.

The second appearance of key i is at step 2 D + 2 g_i, and the integer g_i is called the gap of pair
i. The D gaps are different integers in 0 … G − 1 with G = (T − 2 D) / 2. The gaps are drawn one
after another without replacement, with the probability P(g) ∝ (g + 1)^(power − 1) for a gap g. With
`power` near 0, the distances between the appearances of a key are distributed like the distances of
repeated bigrams in text. With `power` = 1, all gaps are equally likely.

    token    4 8 2 6 0 0 2 0 4 0      D = 2
    target               6   8        query 8 (of key 4) and 6 (of key 2), in the order of the pairs

The steps without a pair or a query hold the blank token 0, as in the experiments of [arora2023].
With `random_non_queries`, an option in the code of [arora2023], the steps without a pair or a query
hold random tokens. A random token may equal a key, so that a step without a query may look like a
step with a query.

Any of the D values, whatever the key, is right with the probability 1/D. This baseline needs memory
of one value, but no binding of values to keys.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.baselines import Baseline, shortcut
from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, distinct, shuffled
from lookback.errors import UserError

ANY_VALUE = "any value of this sequence"


class AssociativeRecall(GeneratedTask):
    """A task to recall the values of D keys from D pairs of a key and a value."""

    def __init__(
        self,
        length: int,
        vocabulary: int,
        pairs: int,
        power: float,
        random_non_queries: bool,
        train: int,
        validation: int,
        test: int,
        seed: int | str,
        fresh: bool,
    ):
        super().__init__(length, train, validation, test, seed, fresh)
        keys, most_pairs = vocabulary // 2 - 1, length // 4
        if not 1 <= pairs <= most_pairs:
            raise UserError(
                f"pairs: {pairs}; each pair needs 4 steps, and length {length} has room for "
                f"{most_pairs} pairs. Make `pairs` 1 to {most_pairs}, or `length` larger."
            )
        if keys < max(pairs, 2):
            raise UserError(
                f"vocabulary: {vocabulary} tokens contain {max(keys, 0)} keys, too few for {pairs} "
                f"different keys (at least 2). Make it {2 * max(pairs, 2) + 2} or more."
            )
        if power < 0:
            raise UserError(f"power: {power}; make it 0 or more. 1 gives uniform gaps.")
        self.vocabulary, self.pairs, self.power = vocabulary, pairs, power
        self.random_non_queries = random_non_queries
        self.features = self.outputs = vocabulary

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Draw N sequences of T tokens, with the values of the D pairs as targets (N, D)."""
        half, context = self.vocabulary // 2, 2 * self.pairs
        keys = 1 + shuffled(generator, distinct(generator, count, self.pairs, half - 1))
        values = shuffled(generator, distinct(generator, count, self.pairs, self.vocabulary - half))
        values += half
        query = context + 2 * self._gaps(count, generator)
        inputs = np.zeros((count, self.length), dtype=np.int64)
        if self.random_non_queries:
            inputs[:] = generator.integers(0, self.vocabulary, inputs.shape)
        inputs[:, 0:context:2], inputs[:, 1:context:2] = keys, values
        np.put_along_axis(inputs, query, keys, axis=1)
        return SequenceDataset(
            inputs=torch.from_numpy(inputs),
            lengths=torch.full((count,), self.length),
            query=torch.from_numpy(query),
            target=torch.from_numpy(values),
            lag=torch.from_numpy(query - np.arange(0, context, 2)),
            evidence=self.pair_steps,
        )

    def _gaps(self, count: int, generator: np.random.Generator) -> Int[np.ndarray, "row pair"]:
        """Draw D different gaps for each of `count` sequences, with P(g) ∝ (g + 1)^(power − 1).

        For each possible gap g, a number is drawn from the exponential distribution with the rate
        (g + 1)^(power − 1). The result is the D gaps with the smallest numbers, sorted by their
        numbers. The D gaps have the same distribution as gaps that are drawn one after another
        without replacement, with probabilities proportional to the rates.
        """
        rates = np.arange(1, self.length // 2 - self.pairs + 1) ** (self.power - 1.0)
        times = generator.standard_exponential((count, len(rates))) / rates
        return np.argsort(times, axis=1, kind="stable")[:, : self.pairs]

    def shortcuts(self, train: SequenceDataset, test: SequenceDataset) -> list[Baseline]:
        """The value of the last pair, whatever the key that is asked."""
        last_value = test.inputs[:, 2 * self.pairs - 1]
        return [shortcut(ANY_VALUE, last_value.unsqueeze(1).expand(test.query.shape), test)]

    def pair_steps(self, inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: the two steps of its pair at the start of the sequence."""
        pair_of_step = torch.arange(self.length, device=inputs.device) // 2
        is_evidence = pair_of_step == torch.arange(self.pairs, device=inputs.device).unsqueeze(1)
        return is_evidence.expand(len(inputs), -1, -1)
