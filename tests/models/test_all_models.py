"""What every model promises, whichever it is."""

import grimp
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from lookback.errors import UserError
from lookback.models.base import Initialisation
from lookback.models.gru import GRU
from lookback.models.network import build_network
from tests.shipped import make_layer

from .cases import (
    CASES,
    CONFIGS,
    FEATURES,
    HIDDEN,
    LOOKING_AHEAD,
    build,
    facts,
    over,
    questions,
    shipped,
    twins,
)

RECIPE = {"recurrent": "orthogonal", "input": "xavier_uniform", "forget_bias": 1.0}
every_model = pytest.mark.parametrize("name", CASES)


def assert_trace_is_the_twin(name, model):
    inputs, lengths, query = questions(dtype=torch.float64)
    trace = model.trace(inputs, lengths, query)
    for row, twin in enumerate(twins(name, model, inputs, lengths, query)):
        length = int(lengths[row])
        there = query[row] >= 0
        assert trace.states.keys() == twin.states.keys()
        assert trace.gates.keys() == twin.gates.keys()
        for ours, theirs in ((trace.states, twin.states), (trace.gates, twin.gates)):
            for key, expected in theirs.items():
                assert_allclose(ours[key][row, :length].numpy(), expected, atol=1e-12, err_msg=key)
        assert_allclose(trace.features[row][there].numpy(), twin.features, atol=1e-12)
        assert (trace.attention is None) == (twin.attention is None)
        if twin.attention is not None:
            attention = trace.attention[row][there].numpy()
            assert_allclose(attention[:, :length], twin.attention, atol=1e-12)
            assert_allclose(attention[:, length:], 0.0, atol=0.0)
        assert (trace.heads is None) == (twin.heads is None)
        if twin.heads is not None:
            heads = trace.heads[row][:, there].numpy()
            assert_allclose(heads[..., :length], twin.heads, atol=1e-12)


@every_model
def test_trace_is_the_papers_equations_one_number_at_a_time(name):
    assert_trace_is_the_twin(name, build(name).double())


def test_the_comparison_with_the_twin_sees_two_gates_swapped():
    class Swapped(GRU):
        def cell(self, from_input, state, layer):
            x_r, x_z, x_n = from_input.chunk(3, dim=1)
            return super().cell(torch.cat([x_z, x_r, x_n], dim=1), state, layer)

    swapped = make_layer(Swapped, FEATURES, HIDDEN, layers=2).double()
    swapped.load_state_dict(build("gru").state_dict())
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_trace_is_the_twin("gru", swapped)


@every_model
@pytest.mark.parametrize(("batch", "time"), [(3, 7), (7, 7), (1, 1), (1, 7), (5, 40)])
def test_forward_equals_trace(name, batch, time):
    model = build(name)
    asked = questions(batch, time)
    features = model(*asked)
    assert features.shape == (batch, 2, model.output_size)
    for differentiable in (False, True):  # by what is fast, and by the equations
        trace = model.trace(*asked, differentiable=differentiable)
        assert_close(features, trace.features, atol=1e-5, rtol=0)


def parameter_gradients(model, inputs, lengths, query):
    there = (query >= 0).unsqueeze(-1)
    answers = model(inputs, lengths, query)
    loss = answers.masked_fill(~there, 0.0).square().sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return answers.detach()[there.squeeze(-1)], gradients


def with_padding(inputs, lengths, value):
    past = torch.arange(inputs.shape[1]) >= lengths.unsqueeze(1)
    return torch.where(past.unsqueeze(-1), value, inputs)


@every_model
def test_what_stands_past_a_length_changes_neither_answers_nor_gradients(name):
    model = build(name)
    inputs, lengths, query = questions()
    answers, gradients = parameter_gradients(model, inputs, lengths, query)
    garbage = with_padding(inputs, lengths, 100 * torch.randn_like(inputs))
    answers_too, gradients_too = parameter_gradients(model, garbage, lengths, query)
    assert_close(answers_too, answers)
    assert_close(gradients_too, gradients)


def test_the_comparison_of_padding_sees_lengths_that_a_model_ignores():
    model = build("transformer")
    inputs, lengths, query = questions()
    garbage = with_padding(inputs, lengths, 100 * torch.randn_like(inputs))
    ignored = torch.full_like(lengths, 7)
    answers, _ = parameter_gradients(model, inputs, ignored, query)
    assert not torch.allclose(parameter_gradients(model, garbage, ignored, query)[0], answers)


@every_model
def test_nan_past_a_length_changes_nothing_in_a_network(name):
    network = build_network(CASES[name][0], RECIPE, facts(), seed=0).eval()
    inputs, lengths, query = questions()
    missing = with_padding(inputs, lengths, torch.tensor(torch.nan))
    assert missing.isnan().any()
    answers, gradients = parameter_gradients(network, inputs, lengths, query)
    answers_too, gradients_too = parameter_gradients(network, missing, lengths, query)
    assert_close(answers_too, answers)
    assert_close(gradients_too, gradients)
    there = query >= 0
    assert_close(network.trace(missing, lengths, query)[0][there], answers, atol=1e-5, rtol=0)


@every_model
def test_a_sequence_alone_and_unpadded_gets_the_same_features(name):
    model = build(name)
    inputs, lengths, query = questions()
    together = model(inputs, lengths, query)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        alone = model(inputs[one, :length], lengths[one], query[one])
        assert_close(alone[query[one] >= 0], together[one][query[one] >= 0], atol=1e-6, rtol=1e-5)


@every_model
def test_gradients_of_a_trace_are_those_of_pushing_the_twins_states(name):
    """Each state of each step is pushed along a random direction, and the twin rolls on from it."""
    model = build(name).double()
    if name == "tcn":  # a unit that is off in both branches lies at the kink and has no slope
        torch.nn.init.constant_(model.blocks[0].match.bias, 5.0)
    inputs, _, _ = questions(1, 5, dtype=torch.float64)
    lengths, query = torch.tensor([5]), torch.tensor([[4, 2]])
    towards = np.random.default_rng(0).normal(size=(2, model.output_size))

    def loss(push):
        (twin,) = twins(name, model, inputs, lengths, query, push=push)
        return float((twin.features * towards).sum())

    trace = model.trace(inputs, lengths, query, differentiable=True)
    gradients = trace.gradients((trace.features[0] * torch.from_numpy(towards)).sum())
    assert gradients.keys() == trace.states.keys()
    for key, gradient in gradients.items():
        for step in range(5):
            way = np.random.default_rng(step).normal(size=gradient.shape[-1])

            def pushed(size, key=key, step=step, way=way):
                return loss(lambda name, t: size * way if (name, t) == (key, step) else 0.0)

            slope = (pushed(1e-5) - pushed(-1e-5)) / 2e-5
            assert_allclose(float(gradient[0, step].numpy() @ way), slope, atol=1e-7, err_msg=key)


@every_model
def test_a_trace_keeps_no_graph_unless_asked(name):
    model = build(name)
    assert not model.trace(*questions()).features.requires_grad
    assert model.trace(*questions(), differentiable=True).features.requires_grad


@every_model
def test_none_looks_past_the_query_but_those_that_say_so(name):
    inputs = questions(2, 7)[0].requires_grad_()
    features = build(name)(inputs, torch.tensor([7, 7]), torch.tensor([[3], [3]]))
    (gradient,) = torch.autograd.grad(features.square().sum(), inputs)
    reached = gradient.abs().sum(dim=(0, 2)) > 0
    assert reached[:4].all()
    assert reached[4:].tolist() == [name in LOOKING_AHEAD] * 3


@every_model
def test_dropout_acts_in_training_alone_and_alike_in_forward_and_trace(name):
    """The same sequence many times: means over the masks agree within five standard errors."""
    settings = CASES[name][0]
    rate = {"dropout": 0.4} if "dropout" in settings else {}
    if "encoder" in settings:
        rate["encoder"] = {**settings["encoder"], "dropout": 0.4}
    model = build(name, **rate)
    inputs, lengths, query = (part.expand(4000, *part.shape[1:]) for part in questions(1, 4))
    asked = inputs, lengths, query[:, :1]
    assert_close(model(*asked).std(dim=0), torch.zeros(1, model.output_size), atol=1e-6, rtol=0)
    torch.manual_seed(0)
    model.train()
    fast, slow = model(*asked).detach(), model.trace(*asked).features
    deviation = fast.std(dim=0)
    assert deviation.max() > 0.01
    assert_close(slow.std(dim=0), deviation, rtol=0.15, atol=1e-6)
    standard_error = deviation * (2 / 4000) ** 0.5
    assert ((fast.mean(dim=0) - slow.mean(dim=0)).abs() <= 5 * standard_error).all()


@every_model
def test_mixed_precision_stays_near_single_and_its_gradients_finite(name):
    """Products in bfloat16, 8 bits: a few percent over two layers and 40 steps."""
    network = build_network(CASES[name][0], RECIPE, facts(), seed=0).eval()
    asked = questions(5, 40)
    expected = network(*asked)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answers, gradients = parameter_gradients(network, *asked)
    there = asked[2] >= 0
    assert_close(answers.float(), expected[there], atol=0.1, rtol=0.05)
    assert all(gradient.isfinite().all() for gradient in gradients)


LEARNED = shipped("transformer", positions="learned", longest=4096)


@pytest.mark.parametrize("name", [*CASES, "transformer_learned"])
def test_at_4096_steps_mixed_precision_stays_within_bfloat16s_own_error(name):
    """Its numbers have 8 bits, so one rounding errs by 1/256 at most: four of these for all."""
    settings = LEARNED if name == "transformer_learned" else CASES[name][0]
    network = build_network(settings, RECIPE, facts(), seed=0).eval()
    inputs, lengths, _ = questions(3, 4096)
    query = lengths.unsqueeze(1) - 1 - torch.arange(64)
    asked = inputs, lengths, query.clamp(min=-1)
    there = query >= 0
    with torch.no_grad():
        expected = network(*asked)[there]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answers = network(*asked)[there].float()
            traced = network.trace(*asked)[0][there].float()
    for found in (answers, traced):
        assert (found - expected).norm() < 4 / 256 * expected.norm()


def overflowing(name, dtype, *, bidirectional=False):
    """A model over an Elman network with ReLU and W_h = 3 I, which overflows within 700 steps."""
    if name == "rnn_relu":
        model = build(name, bidirectional=bidirectional).to(dtype)
    else:
        relu = over("rnn.RNN", nonlinearity="relu", bidirectional=bidirectional)
        model = build(name, encoder=shipped(name, encoder=relu)["encoder"]).to(dtype)
    with torch.no_grad():
        for _, w_h, *_ in getattr(model, "encoder", model).kernel.all_weights:
            w_h.copy_(3 * torch.eye(HIDDEN))
    return model


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [4, 5])
@pytest.mark.parametrize("name", ["rnn_relu", "attention", "lstm_transformer"])
def test_a_state_that_overflows_past_a_length_poisons_no_gradient(
    name, batch, dtype, bidirectional
):
    """By our kernel in float32, by torch's module in float64, and by the equations in a trace."""
    model = overflowing(name, dtype, bidirectional=bidirectional)
    inputs, _, _ = questions(batch, 1000, dtype=dtype)
    lengths, query = torch.full((batch,), 5), torch.full((batch, 1), 4)
    answers, gradients = parameter_gradients(model, inputs, lengths, query)
    wanted, their_gradients = parameter_gradients(model, inputs[:, :5], lengths, query)
    traced = model.trace(inputs, lengths, query, differentiable=True).features
    traced_gradients = torch.autograd.grad(traced.square().sum(), list(model.parameters()))
    near = {"atol": 1e-3, "rtol": 1e-3}
    assert_close((answers, gradients), (wanted, their_gradients), **near)
    assert_close((traced[:, 0], traced_gradients), (wanted, their_gradients), **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_state_that_overflows_after_the_last_query_poisons_no_gradient(dtype):
    model = overflowing("rnn_relu", dtype)
    inputs, _, _ = questions(5, 1000, dtype=dtype)
    query = torch.full((5, 1), 4)
    found = parameter_gradients(model, inputs, torch.full((5,), 1000), query)
    wanted = parameter_gradients(model, inputs[:, :5], torch.full((5,), 5), query)
    assert_close(found, wanted, atol=1e-3, rtol=1e-3)


@every_model
def test_a_seed_gives_the_same_network_and_another_seed_another(name):
    one, two, other = (
        build_network(CASES[name][0], RECIPE, facts(), seed=seed).state_dict() for seed in (5, 5, 6)
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    weights = [key for key in one if "bias" not in key and "norm" not in key]
    assert not any(torch.equal(one[key], other[key]) for key in weights)


@every_model
def test_every_weight_is_drawn_anew_by_initialise(name):
    model, twin = build(name, seed=1), build(name, seed=2)
    for each in (model, twin):
        torch.manual_seed(0)
        each.initialise(Initialisation(**RECIPE))
    for key, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[key]), key


@pytest.mark.parametrize("kind", ["recurrent", "input"])
def test_an_unknown_initialisation_is_a_mistake_whichever_the_model(kind):
    with pytest.raises(UserError, match=f"initialisation.{kind}` is 'orthogonol'.*uniform"):
        build_network(shipped("transformer"), {**RECIPE, kind: "orthogonol"}, facts(), seed=0)


@every_model
def test_tokens_enter_by_the_embedding_and_can_be_explained_there(name):
    network = build_network(CASES[name][0], RECIPE, facts(tokens=True), seed=0).eval()
    tokens = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(0))
    _, lengths, query = questions()
    embedded = network.embed(tokens)
    assert embedded.shape == (3, 7, CASES[name][0]["embedding_size"])
    answers = network.head(network.encoder(embedded, lengths, query))
    there = query >= 0
    for found in (network(tokens, lengths, query), network.trace(tokens, lengths, query)[0]):
        assert_close(found[there], answers[there], atol=1e-5, rtol=0)


@every_model
def test_checkpoints_hold_what_the_answers_depend_on(name):
    model, other = build(name, seed=1), build(name, seed=2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(*questions()), model(*questions()))


@pytest.mark.gpu
@every_model
def test_gradients_in_evaluation_mode_on_a_gpu_are_those_of_the_cpu(name):
    inputs, lengths, query = questions()
    found = []
    for device in ("cpu", "cuda"):
        model = build(name).to(device)
        here = inputs.to(device).requires_grad_()
        features = model(here, lengths.to(device), query.to(device))
        found.append(torch.autograd.grad(features.square().sum(), here)[0].cpu())
    assert_close(found[1], found[0], atol=1e-3, rtol=1e-2)


ARCHITECTURES = {
    *("rnn", "lstm", "gru", "mingru", "minlstm", "lru", "tcn"),
    *("attention", "transformer", "lstm_transformer"),
}


def test_every_shipped_model_is_under_test():
    shipped_names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert shipped_names <= CASES.keys()
    modules = {CASES[name][0]["_target_"].split(".")[2] for name in shipped_names}
    assert modules == ARCHITECTURES


@pytest.mark.parametrize("module", sorted(ARCHITECTURES))
def test_no_architecture_reaches_another(module):
    """So an edit of one retrains that one; an encoder is named in its model's config."""
    graph = grimp.build_graph("lookback", cache_dir=None)
    reached = graph.find_upstream_modules(f"lookback.models.{module}")
    others = ARCHITECTURES - {module}
    assert not reached & {f"lookback.models.{other}" for other in others}


def test_shipped_sizes_are_as_the_configs_say():
    """A count by hand, for F = 3 features, H = 64, one layer.

    Recurrent: gates · (H·F + H·H + 2·H), minimal: gates · (H·F + H), and the attention's own. LRU,
    with N modes: in, norm, Λ and γ, B and C, D, GLU. TCN of kernel k: two convolutions with their
    g and b, and the residual's.
    """
    hidden, modes, kernel = 64, 4, 3
    one = hidden * 3 + hidden * hidden + 2 * hidden
    minimal = hidden * 3 + hidden
    own = 2 * hidden**2 + hidden + hidden + 2 * hidden**2 + hidden
    lru = minimal + 2 * hidden + 3 * modes + 4 * hidden * modes + hidden
    lru += 2 * hidden**2 + 2 * hidden
    tcn = hidden * 3 * kernel + hidden * hidden * kernel + 4 * hidden + minimal
    expected = {"rnn": one, "lstm": 4 * one, "gru": 3 * one, "attention": 4 * one + own}
    expected |= {"mingru": 2 * minimal, "minlstm": 3 * minimal, "lru": lru, "tcn": tcn}
    for name, count in expected.items():
        config = shipped(name, hidden_size=hidden)
        config.get("encoder", config)["layers"] = 1
        network = build_network(config, RECIPE, facts(), seed=0)
        assert sum(parameter.numel() for parameter in network.encoder.parameters()) == count, name
