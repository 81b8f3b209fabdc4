"""How many steps a run has, by each of the ways to say it."""

from pathlib import Path

import pytest
import torch

from lookback.models.cost import training_flops
from lookback.models.network import undrawn_network
from lookback.storage.cell_paths import measured_steps_file
from lookback.training.budget import steps_of, with_measured_steps, with_steps
from lookback.training.module import TrainingModule
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


@pytest.mark.parametrize("batch_size", [1, 16, 32, 53, 64])
@pytest.mark.parametrize("budget", [1e6, 3.3e7, 1e9])
def test_a_budget_of_operations_buys_the_sequences_that_it_pays(tmp_path, batch_size, budget):
    """The slow twin walks from batch to batch; the last one of an epoch is smaller."""
    config = config_of(f"trainer.budget={{flops: {budget}}}", f"trainer.batch_size={batch_size}")
    flops = training_flops(undrawn_network(config["model"], FACTS), FACTS)
    sizes = [len(part) for part in torch.arange(FACTS.sizes["train"]).split(batch_size)]
    paid, wanted = 0.0, 0
    while (paid := paid + flops * sizes[wanted % len(sizes)]) <= budget:
        wanted += 1
    assert steps(config, tmp_path) == wanted


def test_the_measured_step_is_the_step_of_training(tmp_path, monkeypatch):
    """With its precision, truncation, clipping and schedule, which a hook sees."""
    seen = []
    update = TrainingModule.update

    def spy(module, optimizer, batch):
        encoder = module.network.encoder
        seen.append((torch.is_autocast_enabled("cpu"), encoder.truncate, len(batch.inputs)))
        done = update(module, optimizer, batch)
        norms = [weight.grad.norm() for weight in module.weights]
        seen.append(torch.stack(norms).norm().item())
        return done

    monkeypatch.setattr(TrainingModule, "update", spy)
    config = config_of(
        "trainer.budget={seconds: 0.01}",
        "trainer.precision=bf16-mixed",
        "trainer.tbptt=3",
        "recipe.clip=1e-3",
    )
    with_measured_steps(config, FACTS, adding().dataset("train"), tmp_path)
    assert set(seen[::2]) == {(True, 3, 16)}
    assert all(norm < 1.01e-3 for norm in seen[1::2])


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
