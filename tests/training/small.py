"""A small task and the shipped configs, shrunk."""

from pathlib import Path
from typing import Any

from lookback.data.adding import Adding
from lookback.data.task import Facts
from lookback.models.network import Network, build_network
from lookback.planning.study import CellConfig, compose_by_hand

CONF = Path(__file__).parents[2] / "conf"


def adding(**changes: Any) -> Adding:
    return Adding(
        **{
            "length": 12,
            "train": 53,
            "validation": 20,
            "test": 30,
            "seed": 1,
            "fresh": False,
            **changes,
        }
    )


def shipped(model: str, *overrides: str) -> CellConfig:
    """The shipped config of a model on the adding problem, as small as a test wants it."""
    small = [
        "task.length=12",
        "task.train=160",
        "task.validation=40",
        "task.test=40",
        "model.hidden_size=8",
        "trainer.batch_size=16",
        "trainer.max_epochs=4",
        "trainer.log_every=3",
    ]
    study = compose_by_hand(CONF, "adding", model, 0, [*small, *overrides])
    return study.cells["adding", model]


def network_of(model: str, facts: Facts, *, seed: int) -> Network:
    config = shipped(model)
    return build_network(config.model, config.recipe["initialisation"], facts, seed=seed)
