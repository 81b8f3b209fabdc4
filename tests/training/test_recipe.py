"""Schedules against their closed forms; the loss against torch's on hand-picked queries."""

import math

import pytest
import torch
from torch import nn

from lookback.errors import UserError
from lookback.models.base import Initialisation
from lookback.models.lru import LRU
from lookback.training.batches import Batches, order
from lookback.training.loss import answer_loss
from lookback.training.recipe import optimizer_of
from lookback.training.schedule import share_of
from tests.shipped import make_layer
from tests.training.small import adding


def rates(shape: str, warmup: float, steps: int) -> list[float]:
    share = share_of({"schedule": {"shape": shape, "warmup": warmup}}, steps)
    return [2.0 * share(step) for step in range(steps)]


def test_cosine_rises_in_a_line_and_falls_along_half_a_cosine():
    found = rates("cosine", 0.2, 50)
    assert found[:10] == pytest.approx([2.0 * (k + 1) / 10 for k in range(10)])
    assert found[10:] == pytest.approx(
        [1.0 + math.cos(math.pi * (k - 10) / 40) for k in range(10, 50)]
    )


def test_constant_without_warmup_never_moves():
    assert rates("constant", 0.0, 7) == [2.0] * 7


def test_drop_is_a_tenth_from_the_middle_on():
    assert rates("drop", 0.0, 7) == pytest.approx([2.0] * 4 + [0.2] * 3)


def weights_after_a_step(recipe: dict, network: nn.Module) -> dict[str, torch.Tensor]:
    """One step without a gradient: what weight decay alone does."""
    optimizer = optimizer_of({"optimizer": recipe}, network)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize("decay", [{"weight_decay": 0.1}, {}])
def test_weight_decay_shrinks_matrices_and_leaves_biases_and_gains_alone(decay):
    """AdamW of torch decays by 0.01 where a recipe says nothing."""
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    after = weights_after_a_step({"_target_": "torch.optim.AdamW", "lr": 0.5, **decay}, network)
    kept = 1 - 0.5 * decay.get("weight_decay", 0.01)
    assert torch.allclose(after.pop("0.weight"), before["0.weight"] * kept)
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())


def test_weight_decay_leaves_the_decay_rates_of_an_lru_alone():
    network = make_layer(LRU, 3, 4, layers=1, modes=5)
    nn.init.ones_(network.enter.weight)
    network.initialise(Initialisation("orthogonal", "uniform", 1.0))
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    after = weights_after_a_step({"_target_": "torch.optim.AdamW", "lr": 0.5}, network)
    for name in ("nu_log", "theta_log", "gamma_log", "d"):
        assert torch.equal(after[f"blocks.0.{name}"], before[f"blocks.0.{name}"])
    assert not torch.equal(after["blocks.0.b_real"], before["blocks.0.b_real"])


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "Adagrad"])
@pytest.mark.parametrize(
    ("settings", "is_fused", "is_foreach"),
    [
        ({}, True, None),
        ({"fused": True}, True, None),
        ({"fused": False}, False, None),
        ({"fused": None}, None, None),
        ({"foreach": True}, None, True),
        ({"foreach": False}, None, False),
        ({"fused": False, "foreach": True}, False, True),
    ],
)
def test_the_users_way_of_updating_the_weights_is_the_one_that_is_used(
    kind, settings, is_fused, is_foreach
):
    recipe = {"_target_": f"torch.optim.{kind}", "lr": 0.1, **settings}
    network = nn.Linear(2, 2)
    optimizer = optimizer_of({"optimizer": recipe}, network)
    (group, *_) = optimizer.param_groups
    assert (group["fused"], group["foreach"]) == (is_fused, is_foreach)
    weights_after_a_step(recipe, network)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fused": True, "foreach": True}, "`fused` and `foreach` cannot be `True` together"),
        ({"fused": True, "differentiable": True}, "`fused` does not support `differentiable`"),
        ({"betas": [0.9, 1.5]}, "Invalid beta parameter"),
        ({"momentum": 0.9}, "unexpected keyword argument 'momentum'"),
    ],
)
def test_settings_that_an_optimiser_refuses_are_a_mistake_of_the_user(settings, message):
    recipe = {"_target_": "torch.optim.AdamW", "lr": 0.1, **settings}
    with pytest.raises(UserError, match=f"AdamW refuses its settings: .*{message}"):
        optimizer_of({"optimizer": recipe}, nn.Linear(2, 2))


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "RMSprop"])
def test_a_step_of_every_optimiser_is_that_of_torchs_own_loop_over_weights(kind):
    network, twin = (nn.Linear(5, 4) for _ in range(2))
    twin.load_state_dict(network.state_dict())
    make = getattr(torch.optim, kind)
    settings = {"lr": 0.01, **({"weight_decay": 0.0} if kind == "AdamW" else {})}
    plain = make(twin.parameters(), **settings, foreach=False)
    ours = optimizer_of({"optimizer": {"_target_": f"torch.optim.{kind}", **settings}}, network)
    for _ in range(3):
        for weight, other in zip(network.parameters(), twin.parameters(), strict=True):
            weight.grad = torch.randn_like(weight)
            other.grad = weight.grad.clone()
        ours.step()
        plain.step()
    for weight, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(weight, other, atol=1e-6)


def test_a_smoothed_label_is_one_mixed_with_the_mean_over_classes():
    answers = torch.randn(4, 1, 5)
    query, target = torch.zeros(4, 1).long(), torch.tensor([[0], [3], [4], [1]])
    found = answer_loss(answers, query, target, "class", label_smoothing=0.2)
    each = -answers.squeeze(1).log_softmax(-1)
    wanted = 0.8 * each.gather(1, target) + 0.2 * each.mean(1, keepdim=True)
    assert found.item() == pytest.approx(wanted.mean().item(), rel=1e-5)


def test_a_query_that_asks_nothing_costs_nothing():
    answers = torch.randn(2, 2, 3)
    query = torch.tensor([[1, -1], [0, 2]])
    target = torch.tensor([[2, 0], [1, 1]])
    asked = torch.stack([answers[0, 0], answers[1, 0], answers[1, 1]])
    wanted = nn.functional.cross_entropy(asked, torch.tensor([2, 1, 1]))
    assert answer_loss(answers, query, target, "class").item() == pytest.approx(wanted.item())


def test_squared_error_is_the_mean_over_asked_queries_and_values():
    answers, target = torch.randn(2, 2, 3), torch.randn(2, 2, 3)
    query = torch.tensor([[1, -1], [0, 2]])
    asked = [(0, 0), (1, 0), (1, 1)]
    wanted = sum(((answers[at] - target[at]) ** 2).mean().item() for at in asked) / 3
    assert answer_loss(answers, query, target, "value").item() == pytest.approx(wanted)


def test_every_sequence_comes_once_an_epoch_in_an_order_of_its_own():
    data = adding().dataset("train")
    seen = []
    for epoch in (0, 1):
        batches = Batches(data, 7, (3,), seed=3, step=lambda epoch=epoch: 8 * epoch)
        windows = [[batch.inputs for batch in window] for window in batches]
        assert [len(window) for window in windows] == [[3, 3, 2], [1, 3, 3, 1]][epoch]
        parts = [part for window in windows for part in window]
        assert [len(part) for part in parts] == [7] * (len(data) // 7) + [len(data) % 7]
        seen.append(torch.cat(parts))
    key = [tuple(map(tuple, s[:, :, 0].tolist())) for s in (*seen, data.inputs)]
    assert sorted(key[0]) == sorted(key[1]) == sorted(key[2])
    assert key[0] != key[1]
    assert torch.equal(order(50, seed=3, epoch=1), order(50, seed=3, epoch=1))
    assert not torch.equal(order(50, seed=3, epoch=1), order(50, seed=4, epoch=1))
