"""How many steps a run has, by each of the ways to say it."""

from pathlib import Path

import pytest
import torch

from lookback.models.cost import forward_flops
from lookback.models.network import undrawn_network
from lookback.storage.cell_paths import measured_steps_file
from lookback.training.budget import steps_of, with_measured_steps, with_steps
from tests.training.small import adding, shipped

FACTS = adding().facts()


def config_of(*overrides: str) -> dict:
    return dict(vars(shipped("gru", *overrides)))


def steps(config: dict, runs: Path) -> int:
    return steps_of(with_steps(config, FACTS, runs)["trainer"], FACTS.sizes["train"])


def test_without_a_budget_epochs_count_unless_steps_are_said(tmp_path):
    assert steps(config_of("trainer.max_epochs=3", "trainer.batch_size=16"), tmp_path) == 3 * 4
    assert steps(config_of("trainer.max_steps=7"), tmp_path) == 7
    assert steps(config_of("trainer.budget={steps: 9}"), tmp_path) == 9


def test_a_budget_of_operations_buys_steps_by_what_one_costs(tmp_path):
    config = config_of("trainer.budget={flops: 1e9}", "trainer.batch_size=16")
    forward = forward_flops(undrawn_network(config["model"], FACTS), FACTS)
    bought = steps(config, tmp_path)
    assert bought * 3 * forward * 16 <= 1e9 < (bought + 1) * 3 * forward * 16


def test_twice_the_batch_is_half_the_steps(tmp_path):
    few, many = (
        steps(config_of("trainer.budget={flops: 1e9}", f"trainer.batch_size={size}"), tmp_path)
        for size in (32, 16)
    )
    assert many in (2 * few, 2 * few + 1)


def test_a_budget_smaller_than_a_step_buys_one(tmp_path):
    assert steps(config_of("trainer.budget={flops: 1}"), tmp_path) == 1


def test_seconds_are_measured_once_and_stay_what_they_were(tmp_path):
    config, train = config_of("trainer.budget={seconds: 0.5}"), adding().dataset("train")
    assert with_steps(config, FACTS, tmp_path)["trainer"]["max_steps"] is None
    first = with_measured_steps(config, FACTS, train, tmp_path)["trainer"]["max_steps"]
    assert first >= 1
    measured_steps_file(tmp_path).write_text('{"steps": 12345}')
    assert with_measured_steps(config, FACTS, train, tmp_path)["trainer"]["max_steps"] == 12345
    assert steps(config, tmp_path) == 12345


def test_measuring_leaves_no_trace_in_what_is_trained(tmp_path):
    """A seed draws its weights after a generator that is set anew, so measuring draws in vain."""
    from lookback.models.network import build_network

    config, train = config_of("trainer.budget={seconds: 0.01}"), adding().dataset("train")
    initialisation = config["recipe"]["initialisation"]
    before = build_network(config["model"], initialisation, FACTS, seed=3).state_dict()
    with_measured_steps(config, FACTS, train, tmp_path)
    after = build_network(config["model"], initialisation, FACTS, seed=3).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("trainer", [{"steps": 40}, {"flops": 1e9}])
def test_the_config_with_steps_says_both_what_was_asked_and_what_it_came_to(tmp_path, trainer):
    (kind, amount), *_ = trainer.items()
    config = with_steps(config_of(f"trainer.budget={{{kind}: {amount}}}"), FACTS, tmp_path)
    assert config["trainer"]["budget"] == trainer
    assert config["trainer"]["max_steps"] >= 1
