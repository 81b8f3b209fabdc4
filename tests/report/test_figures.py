import itertools
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lookback.report.drawing import PALETTE, colours, inline, models, new_figure, style, to_svg
from lookback.report.figures import gradient_flow, results


def flow(model: str, state: str, log_norms: list[float]) -> pd.DataFrame:
    """A frame as the probe leaves it, trained and of one seed."""
    frame = pd.DataFrame({"distance": range(len(log_norms)), "log_norm": log_norms})
    quantity = "jacobian" if state == "state" else "gradient"
    frame = frame.assign(model=model, state=state, stage="trained", seed=0, task="adding")
    return frame.assign(quantity=quantity)


def test_a_model_keeps_its_colour_where_others_are_missing():
    frame = pd.DataFrame({"model": pd.Categorical(["gru"], categories=["rnn", "lstm", "gru"])})
    assert models(frame) == ["gru"]
    assert colours(frame)["gru"] == PALETTE[2]


def test_equal_figures_of_other_names_share_no_id():
    first, second = (to_svg(new_figure(1), name) for name in ("one", "two"))
    assert 'id="one-figure_1"' in first
    assert first.replace("one-", "") == second.replace("two-", "")


def test_a_label_is_escaped_where_it_stands_in_the_page():
    assert 'aria-label="a &lt;b&gt; &#34;c&#34;"' in inline(to_svg(new_figure(1), "x"), 'a <b> "c"')


def test_what_is_left_of_the_gradient_is_the_ratio_of_first_step_to_answer():
    halved = [math.log(0.5) * step for step in range(11)]
    frame = pd.concat([flow("rnn", "hidden/0", halved), flow("gru", "hidden/0", [0.0] * 11)])
    assert gradient_flow.finding(frame).endswith(
        "the gradient 10 steps before the answer is this multiple of the gradient at the answer: "
        "gru 1, rnn 0.00098."
    )


def test_a_gradient_that_grows_past_any_float_is_infinite():
    frame = flow("rnn", "hidden/0", [200.0 * step for step in range(5)])
    assert gradient_flow.finding(frame).endswith("at the answer: rnn ∞.")


def test_the_jacobians_half_distance_is_told_apart_from_the_gradient():
    rotation, quarter = [0.0] * 11, [math.log(0.25) * step for step in range(11)]
    frame = pd.concat(
        [
            flow("rnn", "hidden/0", rotation),
            flow("rnn", "state", quarter),
            flow("gru", "state", rotation),
            flow("lstm", "state", [math.nan] * 11),
        ],
        ignore_index=True,
    )
    assert gradient_flow.finding(frame).endswith(
        "at the answer: rnn 1. No earlier state reaches the answer in gru, lstm. Far from the "
        "answer, the effect of a change of the whole state halves every 0.5 steps in rnn; does not "
        "fade in gru."
    )


def test_the_jacobians_panel_shows_both_stages_of_a_recurrence_and_no_other_model():
    steps = [math.log(0.1) * step for step in range(4)]
    frame = pd.concat(
        [
            flow("gru", "hidden/0", steps),
            flow("transformer", "hidden/0", steps),
            flow("gru", "state", steps),
            flow("gru", "state", [2 * step for step in steps]).assign(stage="initial"),
        ],
        ignore_index=True,
    ).assign(low=0.0, high=0.0)
    lines = gradient_flow.draw(frame).axes[2].lines
    assert {line.get_linestyle(): line.get_ydata()[-1].round(9) for line in lines} == {
        "-": -3.0,
        ":": -6.0,
    }


def test_the_last_layer_is_the_last_that_earlier_steps_reach_the_answer_through():
    only_last = [0.0, np.nan, np.nan]
    frame = pd.concat(
        [
            flow("transformer", "hidden/0", [0.0, -1.0, -2.0]),
            flow("transformer", "hidden/1", only_last),
            flow("lstm", "hidden/0", [0.0, -3.0, -6.0]),
            flow("lstm", "hidden/1", [0.0, -1.0, -2.0]),
            flow("lstm", "cell/1", [0.0, -1.0, -2.0]),
            flow("shallow", "hidden/0", only_last),
        ],
        ignore_index=True,
    )
    shown = gradient_flow.last_layer(frame).groupby("model")["state"].unique()
    assert list(shown["transformer"]) == ["hidden/0"]
    assert list(shown["lstm"]) == ["hidden/1", "cell/1"]
    assert gradient_flow.finding(frame).endswith("No earlier state reaches the answer in shallow.")


@pytest.mark.parametrize(
    "values", [(0.02, 0.18), (0.17, 0.19), (1.1e-5, 9e-5), (0.001, 0.9), (0.003, 0.029)]
)
def test_labels_of_a_logarithmic_axis_are_apart(values: tuple[float, float]):
    frame = pd.DataFrame({"value": values, "mean": values, "low": values, "high": values})
    frame["model"] = pd.Categorical(["gru", "rnn"])
    with style():
        figure = results.draw(frame.assign(task="adding", metric="mse", baseline=values[1]))
        FigureCanvasAgg(figure).draw()
    axis = figure.axes[0].get_xaxis()
    left, right = axis.get_view_interval()
    shown = [tick for tick in axis.get_ticklabels(which="both") if tick.get_text()]
    shown = [tick for tick in shown if left <= tick.get_position()[0] <= right]
    boxes = sorted(tick.get_window_extent().extents.tolist() for tick in shown)
    assert len(boxes) >= 2
    assert all(first[2] + 5 < second[0] for first, second in itertools.pairwise(boxes))
