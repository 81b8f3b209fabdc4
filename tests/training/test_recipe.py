"""Schedules against their closed forms; the loss against torch's on hand-picked queries."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lookback.errors import UserError
from lookback.models.base import Initialisation
from lookback.models.lru import LRU
from lookback.training.batches import Batches, order
from lookback.training.loss import answer_loss
from lookback.training.module import TrainingModule
from lookback.training.recipe import optimizer_of
from lookback.training.schedule import share_of
from tests.shipped import make_layer
from tests.training.small import adding, network_of, shipped


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


def test_one_cycle_is_that_of_torch():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2.0, total_steps=50, pct_start=0.3, cycle_momentum=False
    )
    wanted = []
    for _ in range(50):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates("one_cycle", 0.3, 50) == pytest.approx(wanted)
    assert rates("one_cycle", 0.0, 50)[0] < 2.0


def test_drop_is_a_tenth_from_the_middle_on():
    assert rates("drop", 0.0, 7) == pytest.approx([2.0] * 4 + [0.2] * 3)


def weights_after_a_step(recipe: dict, network: nn.Module) -> dict[str, torch.Tensor]:
    """One step without a gradient: what weight decay alone does."""
    optimizer = optimizer_of({"groups": [], "optimizer": recipe}, network)
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
    optimizer = optimizer_of({"groups": [], "optimizer": recipe}, network)
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
        optimizer_of({"groups": [], "optimizer": recipe}, nn.Linear(2, 2))


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "RMSprop"])
def test_a_step_of_every_optimiser_is_that_of_torchs_own_loop_over_weights(kind):
    network, twin = (nn.Linear(5, 4) for _ in range(2))
    twin.load_state_dict(network.state_dict())
    make = getattr(torch.optim, kind)
    settings = {"lr": 0.01, **({"weight_decay": 0.0} if kind == "AdamW" else {})}
    plain = make(twin.parameters(), **settings, foreach=False)
    ours = optimizer_of(
        {"groups": [], "optimizer": {"_target_": f"torch.optim.{kind}", **settings}}, network
    )
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
    key = [tuple(map(tuple, s[:, :, 0].tolist())) for s in (*seen, data.batch(slice(None)).inputs)]
    assert sorted(key[0]) == sorted(key[1]) == sorted(key[2])
    assert key[0] != key[1]
    assert torch.equal(order(50, seed=3, epoch=1), order(50, seed=3, epoch=1))
    assert not torch.equal(order(50, seed=3, epoch=1), order(50, seed=4, epoch=1))


def test_groups_change_the_learning_rate_and_the_decay_of_the_weights_they_name():
    """One step of the LRU's recipe against torch's AdamW with groups written out."""
    recipe = shipped("lru", "recipe=lru", "recipe.clip=null").recipe
    task = adding()
    network = network_of("lru", task.facts(), seed=0)
    twin = copy.deepcopy(network)
    module = TrainingModule(network, recipe, task.facts(), steps=10, seed=0, accumulate=1)
    batch = task.dataset("train").batch(slice(16))
    optimizer = module.configure_optimizers()
    slow, matrices, vectors = [], [], []
    for name, weight in twin.named_parameters():
        is_slow = name.endswith(("nu_log", "theta_log", "gamma_log"))
        (slow if is_slow else matrices if weight.dim() > 1 else vectors).append(weight)
    rate = 3e-3 * module.share(0)
    plain = torch.optim.AdamW(
        [
            {"params": slow, "lr": rate / 4, "weight_decay": 0.0},
            {"params": matrices, "weight_decay": 0.01},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=rate,
    )
    for _ in range(2):
        module.update(optimizer, batch)  # `step` stays 0, so both steps have the same rate
        answers = twin(batch.inputs, batch.lengths, batch.query)
        plain.zero_grad()
        answer_loss(answers, batch.query, batch.target, "value").backward()
        plain.step()
    for (name, weight), other in zip(network.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight, other, atol=1e-6, rtol=1e-5, msg=name)


def test_a_group_of_weights_that_the_model_lacks_is_a_mistake_of_the_user():
    recipe = shipped("gru", "recipe=lru").recipe
    with pytest.raises(UserError, match=r"nu_log.*no other weight.*weight_ih_l0"):
        optimizer_of(recipe, network_of("gru", adding().facts(), seed=0))


@pytest.mark.parametrize("parts", [2, 3, 99])
def test_a_gradient_in_parts_is_that_of_the_whole_batch(parts):
    """Also if the parts have unequal sizes and unequal numbers of queries, or none."""
    task = adding()
    batch = task.dataset("train").batch(slice(7))
    batch = replace(
        batch,
        query=torch.cat([batch.query, batch.query - 3], dim=1),
        target=torch.cat([batch.target, batch.target], dim=1),
        lag=None,
    )
    batch.query[:3, 1] = -1
    batch.query[5:] = -1
    found = {}
    for count in (1, parts):
        network = network_of("gru", task.facts(), seed=0)
        recipe = shipped("gru").recipe
        module = TrainingModule(network, recipe, task.facts(), steps=10, seed=0, accumulate=count)
        update = module.update(module.configure_optimizers(), batch)
        gradients = [weight.grad for weight in network.parameters()]
        found[count] = [update.loss, update.gradient_norm, *gradients]
    torch.testing.assert_close(found[parts], found[1], atol=1e-6, rtol=1e-5)
