"""A task: data, targets and metric.

Each task has one Python file in data/ and one YAML file in conf/task/.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lookback.data.batch import SequenceDataset

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Facts:
    """The properties of a task that are needed to build a model and to judge the model's scores.

    The file task.json of a task contains the task's facts.
    """

    kind: Literal["class", "value"]
    tokens: bool  # whether the inputs are token ids instead of feature vectors
    features: int  # number of features per step, or size of the vocabulary if inputs are tokens
    length: int  # steps of the longest sequence
    outputs: int  # number of classes, or number of real values per answer
    metric: Literal["accuracy", "mse"]
    baseline: float  # test score of the trivial baseline, the strongest of all baselines
    baseline_name: str  # for example "most frequent class" or "any value of this sequence"
    sizes: Mapping[str, int]  # number of sequences in each split
    # Each feature is scaled as input = (raw − mean) / scale.
    # The features are not scaled if `mean` and `scale` are empty.
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    # How the columns of a table become features and answers (`TableFacts`), or None if the data are
    # no table.
    table: Mapping[str, Any] | None = None
    optimum: float | None = None  # score of the best possible answers, or None if unknown
    # Test scores of the baselines that are weaker than the trivial baseline, by name.
    other_baselines: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.5  # the memory horizon ends at the lag at which the skill falls to this
    # Steps and queries of each sequence in the tensors of the train split, with all padding. Stage
    # `prepare` reads them from the data. The number of steps is None before this stage.
    padded_length: int | None = None
    queries: int = 1

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the task's metric is better."""
        return self.metric == "accuracy"

    @property
    def baselines(self) -> dict[str, float]:
        """The test scores of all baselines by name, the strongest first."""
        others = sorted(
            self.other_baselines.items(), key=lambda item: item[1], reverse=self.higher_is_better
        )
        return {self.baseline_name: self.baseline, **dict(others)}

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Facts":
        """The facts from a dictionary that `to_dict` returned.

        Dictionary keys that are not names of fields of the class Facts are ignored.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{**known, "mean": tuple(known["mean"]), "scale": tuple(known["scale"])})


class Task(ABC):
    """A task returns the same sequences on every machine and in every process."""

    # The splits that each run of a study draws anew, from its own seed.
    drawn_per_run: tuple[Split, ...] = ()
    fresh: bool = False  # whether each training step draws new sequences (data/fresh.py)

    def of_run(self, seed: int) -> "Task":
        """The task with the splits `drawn_per_run` of the run with the seed `seed`."""
        return self

    def fresh_sequences(self, step: int, count: int) -> SequenceDataset:
        """New train sequences for one training step, if the task is `fresh`."""
        raise NotImplementedError

    @abstractmethod
    def facts(self) -> Facts:
        """The shapes, split sizes, input scaling and trivial baseline of the task."""

    @abstractmethod
    def dataset(self, split: Split) -> SequenceDataset:
        """The sequences of a split, with scaled inputs. No sequence is in two splits."""
