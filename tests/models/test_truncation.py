"""Truncated back-propagation: gradients against a slow twin, how far they reach, and memory."""

import copy
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from lookback.models.truncation import group_steps
from tests.conftest import ROOT

from .cases import FEATURES, build, questions

MODELS = ["rnn", "rnn_relu", "lstm", "gru"]


def many_queries(batch=5, time=11):
    """Inputs with unequal lengths, and queries in no order, of which some are padding."""
    inputs, lengths, _ = questions(batch, time)
    generator = torch.Generator().manual_seed(4)
    query = torch.randint(-1, time, (batch, 6), generator=generator)
    query = torch.where(query < lengths.unsqueeze(1), query, -1)
    query[:, 2] = lengths - 1
    return inputs, lengths, query


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.double() for name, weight in model.named_parameters()}


def by_steps(model, inputs, query, steps):
    """The features and the gradient of their squares, from a loop over `step` with `detach`."""
    rest, features, loss = sorted({t for t in query.flatten().tolist() if t >= 0}), {}, 0.0
    while rest:
        group = [t for t in rest if t < rest[0] + max(1, steps // 2)]
        rest = rest[len(group) :]
        state = model.initial_state(len(inputs))
        for t in range(group[-1] + 1):
            state = state.detach() if t == group[0] - steps + 1 else state
            output, state = model.step(inputs[:, t], state)
            for row, column in (query == t).nonzero().tolist() if t in group else ():
                features[row, column] = output[row].detach()
                loss = loss + output[row].square().sum()
    return features, gradients(model, loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["kernel", "module"])
@pytest.mark.parametrize("steps", [1, 3, 7, 99])
@pytest.mark.parametrize("name", MODELS)
def test_truncated_gradients_are_those_of_a_loop_that_detaches_the_state(name, steps, dtype):
    model = build(name).train()
    inputs, lengths, query = many_queries()
    wanted, wanted_gradients = by_steps(
        copy.deepcopy(model).double(), inputs.double(), query, steps
    )
    model.to(dtype).truncate = steps
    features = model(inputs.to(dtype), lengths, query)
    for (row, column), feature in wanted.items():
        assert_close(features[row, column].double(), feature, atol=1e-5, rtol=1e-5)
    found = gradients(model, (features * (query >= 0).unsqueeze(-1)).square().sum())
    for weight, gradient in wanted_gradients.items():
        assert_close(found[weight], gradient, atol=2e-4, rtol=1e-4, msg=weight)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_every_answer_gets_the_gradient_of_at_least_so_many_steps(name):
    """Also the answers after a step that no multiple of `steps` is near (here 11 = 2 · 5 + 1)."""
    model, steps = build(name).train(), 5
    model.truncate = steps
    inputs, lengths, query = many_queries()
    for row, column in (query >= 0).nonzero().tolist():
        read = inputs.clone().requires_grad_()
        model(read, lengths, query)[row, column].sum().backward()
        reached = (read.grad[row] != 0).any(dim=-1).nonzero().flatten().tolist()
        asked = int(query[row, column])
        assert reached == list(range(reached[0], asked + 1))
        assert min(steps, asked + 1) <= len(reached) < 1.5 * steps


def test_a_last_answer_gets_the_gradient_of_exactly_so_many_steps():
    model = build("lstm").train()
    model.truncate = 100
    inputs = torch.randn(2, 101, FEATURES, requires_grad=True)
    model(inputs, torch.tensor([101, 101]), torch.tensor([[100], [100]])).sum().backward()
    assert (inputs.grad[:, 0] == 0).all()
    assert (inputs.grad[:, 1] != 0).all()


def test_every_state_that_attention_reads_is_truncated():
    model = build("attention").train()
    inputs, lengths, query = questions(3, 12)
    read = inputs.clone().requires_grad_()
    whole = model.encoder.outputs(read, lengths)
    model.encoder.truncate = 4
    cut = model.encoder.outputs(read, lengths)
    real = torch.arange(12) < lengths.unsqueeze(1)
    assert_close(cut[real], whole[real])
    cut[-1, 11].sum().backward()
    assert (read.grad[-1, :7] == 0).all()  # the last group starts at step 10, its gradient at 7
    assert (read.grad[-1, 7:] != 0).all()
    found = gradients(model, model(inputs, lengths, query).square().sum())
    model.encoder.truncate = None
    wanted = gradients(model, model(inputs, lengths, query).square().sum())
    assert_close(found["combine.weight"], wanted["combine.weight"])
    assert not torch.allclose(
        found["encoder.kernel.weight_hh_l0"], wanted["encoder.kernel.weight_hh_l0"]
    )


def test_the_backward_pass_repeats_the_dropout_of_the_answers():
    model = build("lstm", dropout=0.5).train()
    model.truncate = 2
    inputs, lengths, query = many_queries()
    torch.manual_seed(0)
    before = model(inputs, lengths, query)
    weight = model.kernel.weight_ih_l1
    torch.manual_seed(1)
    loss = before.square().sum()
    loss.backward()
    # A small step along the gradient changes the loss by as much as the gradient says.
    with torch.no_grad():
        push = 1e-2 * weight.grad / weight.grad.norm()
        weight.add_(push)
    torch.manual_seed(0)
    change = model(inputs, lengths, query).square().sum() - loss
    assert change.item() == pytest.approx((push * weight.grad).sum().item(), rel=0.3)


def test_without_a_query_there_is_nothing_to_answer():
    model = build("gru").train()
    model.truncate = 2
    inputs, lengths, _ = questions()
    assert model(inputs, lengths, torch.full((3, 2), -1)).shape == (3, 2, model.output_size)


def test_groups_lie_within_their_span():
    assert group_steps([0, 4, 5, 9, 10], 5) == [(0, 4), (5, 9), (10, 10)]
    assert group_steps([7], 1) == [(7, 7)]


MEASURE = """
import sys, torch
from tests.models.cases import FEATURES, build

def train(time, steps, every):
    model.truncate = steps
    inputs = torch.randn(4, time, FEATURES, dtype=dtype)
    query = torch.arange(time - 1, 0, -every).expand(4, -1)
    model(inputs, torch.full((4,), time), query).square().sum().backward()
    # Not ru_maxrss: a new process inherits it from the process that started it.
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

dtype, every = getattr(torch, sys.argv[2]), int(sys.argv[3])
model = build(sys.argv[1], hidden_size=64).to(dtype).train()
before = train(40, 4, 10)
truncated = train(10_000, 500, every) - before
print(truncated / (train(10_000, None, every) - before))
"""


@pytest.mark.parametrize(
    ("dtype", "every", "most"),
    [("float32", 10_000, 0.1), ("float64", 10_000, 0.1), ("float32", 100, 0.2)],
    ids=["kernel", "module", "many queries"],
)
def test_a_twentieth_of_the_steps_needs_at_most_a_tenth_of_the_memory(dtype, every, most):
    """With many queries a graph spans up to 1.5 · 500 steps, and the kernels keep their buffers."""
    command = [sys.executable, "-c", MEASURE, "lstm", dtype, str(every)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) <= most
