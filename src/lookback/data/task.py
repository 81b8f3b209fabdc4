"""A task: data, targets and metric.

Each task has one Python file in data/ and one YAML file in conf/task/.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lookback.data.batch import SequenceDataset

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Facts:
    """The properties of a task that models and the judgement of scores need, as in `task.json`."""

    kind: Literal["class", "value"]
    tokens: bool  # whether inputs are token ids; `features` is then the size of the vocabulary
    features: int
    length: int  # steps of the longest sequence
    outputs: int  # the number of classes, or of values in an answer
    metric: Literal["accuracy", "mse"]
    baseline: float  # the test score of the best constant answer, which is fitted on train
    baseline_name: str  # the constant answer: "most frequent class" or "mean of the targets"
    sizes: Mapping[str, int]  # the number of sequences in each split
    mean: tuple[float, ...] = ()  # per feature: input = (raw − mean) / scale; empty: no scaling
    scale: tuple[float, ...] = ()
    optimum: float | None = None  # the score of the best possible answer; None: unknown

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the metric is better."""
        return self.metric == "accuracy"

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Facts":
        """The facts from a dictionary of `to_dict`; other keys are ignored."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{**known, "mean": tuple(known["mean"]), "scale": tuple(known["scale"])})


class Task(ABC):
    """A task returns the same sequences on every machine and in every process."""

    @abstractmethod
    def facts(self) -> Facts:
        """Shapes, sizes, scaling, and the trivial baseline."""

    @abstractmethod
    def dataset(self, split: Split) -> SequenceDataset:
        """The scaled sequences of a split; no sequence is in two splits."""
