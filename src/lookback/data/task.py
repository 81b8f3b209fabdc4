"""A task: data, target and metric. One Python file and one YAML in conf/task/ each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lookback.data.batch import SequenceDataset

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Facts:
    """All that a model needs to be built and a number to be judged; `task.json` holds it."""

    kind: Literal["class", "value"]
    tokens: bool  # inputs are token ids; `features` is then the vocabulary's size
    features: int
    length: int  # the longest sequence
    outputs: int  # classes, or values an answer
    metric: Literal["accuracy", "mse"]
    baseline: float  # the metric of the best constant answer, fitted on train, on the test split
    baseline_name: str  # what that answer is: "most frequent class", "mean of the targets"
    sizes: Mapping[str, int]  # sequences a split
    mean: tuple[float, ...] = ()  # input = (raw − mean) / scale, a feature each; empty: none
    scale: tuple[float, ...] = ()
    optimum: float | None = None  # the metric of the best possible answer, where it is known

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger metric is a better one."""
        return self.metric == "accuracy"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Facts":
        """The facts that `to_dict` gave; keys that are not facts are left out."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{**known, "mean": tuple(known["mean"]), "scale": tuple(known["scale"])})


class Task(ABC):
    """Makes the same sequences on every machine and in every process."""

    @abstractmethod
    def facts(self) -> Facts:
        """Shapes, sizes, scaling fitted on train, and the trivial baseline."""

    @abstractmethod
    def dataset(self, split: Split) -> SequenceDataset:
        """One split, scaled and ready for a model; no sequence is in two splits."""
