"""Multi-query associative recall, MQAR (Arora et al. 2023, «Zoology», section 3 and appendix).

D pairs of a key and a value, k_1 v_1 … k_D v_D, then every key once more, and its value asked for.
Keys are different tokens of 1 … V/2 − 1, values different ones of V/2 … V − 1. Key i comes again
at step 2 D + 2 g_i, with different gaps g_i of 0 … G − 1, G = (T − 2 D) / 2, drawn one after
another with P(g) ∝ (g + 1)^(power − 1): near zero `power` is the law of repeated bigrams in text,
at 1 all gaps are alike.

    token    4 8 2 6 0 0 2 0 4 0      D = 2
    target               6   8        query 8 (of key 4) and 6 (of key 2), in the order of the pairs

The other steps are blank, token 0, as in the paper's experiments, or any tokens at random
(`random_non_queries`), as its code can do too: one of them may then look like a query.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lookback.data.batch import SequenceDataset
from lookback.data.generated import GeneratedTask, distinct, shuffled
from lookback.errors import UserError


class AssociativeRecall(GeneratedTask):
    """Which value belongs to the key?"""

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
        seed: int,
    ):
        super().__init__(length, train, validation, test, seed)
        keys, room = vocabulary // 2 - 1, length // 4
        if not 1 <= pairs <= room:
            raise UserError(
                f"pairs: {pairs}, each with two steps and two more to be asked again in, and "
                f"length {length} has room for {room}. Make `pairs` 1 to that, or `length` larger."
            )
        if keys < max(pairs, 2):
            raise UserError(
                f"vocabulary: of {vocabulary} tokens {max(keys, 0)} are keys, too few for "
                f"{pairs} different ones to tell apart. Make it {2 * max(pairs, 2) + 2} or more."
            )
        if power < 0:
            raise UserError(f"power: {power}; make it 0 or more, 1 for gaps that are all alike.")
        self.vocabulary, self.pairs, self.power = vocabulary, pairs, power
        self.random_non_queries = random_non_queries
        self.features = self.outputs = vocabulary

    def draw(self, count: int, generator: np.random.Generator) -> SequenceDataset:
        """Inputs (N, T), tokens; target (N, D), tokens: the value of each pair."""
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
            evidence=self.paired,
        )

    def _gaps(self, count: int, generator: np.random.Generator) -> Int[np.ndarray, "row pair"]:
        """Different gaps for each pair, drawn one after another by the power law.

        The D smallest of exponential times with these rates, in their order, are such a draw.
        """
        rates = np.arange(1, self.length // 2 - self.pairs + 1) ** (self.power - 1.0)
        times = generator.standard_exponential((count, len(rates))) / rates
        return np.argsort(times, axis=1, kind="stable")[:, : self.pairs]

    def paired(self, inputs: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch query time"]:
        """The evidence of an answer: its key and its value where they stand first."""
        pair = torch.arange(self.length, device=inputs.device) // 2
        own = pair == torch.arange(self.pairs, device=inputs.device).unsqueeze(1)
        return own.expand(len(inputs), -1, -1)
