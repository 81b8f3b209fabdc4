"""A table of one's own as a task, against loops over its rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lookback.data.batch import SequenceDataset
from lookback.data.check import check_data, check_facts
from lookback.data.table import Table
from lookback.data.task import SPLITS
from lookback.errors import UserError

SETTINGS = {
    "layout": "long",
    "group": "id",
    "time": "t",
    "numbers": ["x", "y"],
    "categories": None,
    "target": "label",
    "kind": "class",
    "ask": "sequence",
    "window": None,
    "horizon": 0,
    "last": None,
    "missing": "error",
    "elapsed": False,
    "split": "random",
    "split_column": None,
    "validation_share": 0.2,
    "test_share": 0.2,
    "seed": 0,
}


def walks(count: int = 30, seed: int = 0) -> pd.DataFrame:
    """Sequences of 3 to 9 steps; the label says whether the sum of x is positive."""
    generator = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        steps = int(generator.integers(3, 10))
        frame = pd.DataFrame(
            {
                "id": f"p{number}",
                "t": np.cumsum(generator.integers(1, 4, steps)),
                "x": generator.normal(size=steps).round(3),
                "y": generator.normal(5, 2, size=steps).round(3),
                "place": generator.choice(["in", "out"], steps),
            }
        )
        frame["label"] = "up" if number % 2 else "down"
        frame["mood"] = np.where(frame["x"] > 0, "good", "bad")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def written(tmp_path: Path, frame: pd.DataFrame, name: str = "walks.csv") -> str:
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return str(path)


def table(file: str, **changes: Any) -> Table:
    return Table(file=file, **{**SETTINGS, **changes})


def parts(task: Table) -> dict[str, SequenceDataset]:
    data = {split: task.dataset(split) for split in SPLITS}
    check_data(data)
    check_facts(task.facts(), data)
    return data


def rows_of(data: SequenceDataset, task: Table) -> list[np.ndarray]:
    """The features of each sequence in the units of the file."""
    facts = task.facts()
    raw = data.inputs.double() * torch.tensor(facts.scale) + torch.tensor(facts.mean)
    return [each[:length].numpy() for each, length in zip(raw, data.lengths, strict=True)]


@pytest.mark.parametrize("name", ["walks.csv", "walks.parquet"])
def test_each_group_is_a_sequence_in_the_order_of_time(tmp_path, name):
    frame = walks()
    shuffled = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    task = table(written(tmp_path, shuffled, name))
    expected = {
        tuple(group.sort_values("t")["x"]): group["label"].iloc[0]
        for _, group in frame.groupby("id")
    }
    seen = {}
    for data in parts(task).values():
        for rows, target in zip(rows_of(data, task), data.target[:, 0], strict=True):
            seen[tuple(rows[:, 0].round(3))] = ["down", "up"][target]
        assert (data.query[:, 0] == data.lengths - 1).all()
    assert seen == expected


def test_scaling_is_fitted_on_the_train_split_alone(tmp_path):
    task = table(written(tmp_path, walks()))
    train = np.concatenate(rows_of(task.dataset("train"), task))
    np.testing.assert_allclose(task.facts().mean, train.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(task.facts().scale, train.std(axis=0), rtol=1e-5)


def test_the_shares_of_classes_are_equal_in_the_splits(tmp_path):
    task = table(written(tmp_path, walks(100)))
    shares = {split: data.target.float().mean().item() for split, data in parts(task).items()}
    assert shares == pytest.approx(dict.fromkeys(SPLITS, 0.5), abs=0.03)


def test_a_label_at_each_step_is_asked_where_it_is_known(tmp_path):
    frame = walks()
    frame.loc[frame.index % 3 == 1, "mood"] = ""
    task = table(written(tmp_path, frame), target="mood", ask="step")
    by_sequence = {tuple(g["x"]): list(g["mood"]) for _, g in frame.groupby("id")}
    count = 0
    for data in parts(task).values():
        for rows, query, target in zip(rows_of(data, task), data.query, data.target, strict=True):
            known = dict(zip(query.tolist(), target.tolist(), strict=True))
            known.pop(-1, None)
            moods = by_sequence[tuple(rows[:, 0].round(3))]
            named = {"bad": 0, "good": 1}
            assert known == {step: named[mood] for step, mood in enumerate(moods) if mood}
            count += 1
    assert count == 30


def series(length: int = 120) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    return pd.DataFrame(
        {"t": np.arange(length), "x": generator.permutation(length) / 7, "s": range(length)}
    )


@pytest.mark.parametrize("last", [None, 1, 4])
@pytest.mark.parametrize("horizon", [1, 3])
def test_a_forecast_asks_for_the_target_after_each_window(tmp_path, last, horizon):
    frame = series()
    task = table(
        written(tmp_path, frame),
        **{"group": None, "numbers": ["x"], "target": "x", "kind": "value", "ask": "window"},
        **{"window": 6, "horizon": horizon, "last": last, "split": "time"},
    )
    answers = task.facts().table
    assert answers is not None
    values = frame["x"].to_numpy()
    ends = {}
    for split, data in parts(task).items():
        raw = data.target[:, 0, 0].double() * answers["target_scale"] + answers["target_mean"]
        ends[split] = []
        for rows, target in zip(rows_of(data, task), raw, strict=True):
            row = int(np.flatnonzero(np.isclose(values, target, atol=1e-5))[0])
            end = row - horizon + 1
            np.testing.assert_allclose(rows[:, 0], values[end - (last or 6) : end], atol=1e-5)
            ends[split].append(row)
    # Windows of different splits share no row, and no window that fits into a split is left out.
    first = {split: min(found) - 6 - horizon + 1 for split, found in ends.items()}
    assert first["train"] == 0
    assert max(ends["train"]) < first["validation"]
    assert max(ends["validation"]) < first["test"]
    assert max(ends["test"]) == 119
    assert (first["validation"], first["test"]) == (72, 96)


def test_a_shorter_window_has_the_same_targets(tmp_path):
    settings = {"group": None, "numbers": ["x"], "target": "x", "kind": "value", "ask": "window"}
    file = written(tmp_path, series())
    full, short = (
        table(file, **settings, window=8, horizon=1, last=last, split="time") for last in (None, 2)
    )
    for split in SPLITS:
        assert torch.equal(full.dataset(split).target, short.dataset(split).target)
    assert short.dataset("test").inputs.shape[1] == 2


def test_windows_of_several_series_do_not_cross_from_one_into_the_next(tmp_path):
    frame = pd.concat(
        [
            series(40).assign(id=name, s=start + np.arange(40))
            for name, start in (("a", 0), ("b", 1000))
        ]
    )
    task = table(
        written(tmp_path, frame),
        **{"numbers": ["s"], "target": "s", "kind": "value", "ask": "window", "window": 5},
        **{"horizon": 1, "split": "time"},
    )
    for data in parts(task).values():
        for rows in rows_of(data, task):
            assert (np.diff(rows[:, 0]).round(2) == 1).all()


def test_categories_become_features_of_0_and_1(tmp_path):
    frame = walks()
    task = table(written(tmp_path, frame), numbers=["x"], categories=["place"])
    facts = task.facts()
    assert facts.table is not None
    assert facts.table["encoding"]["categories"] == (("place", ("in", "out")),)
    by_sequence = {tuple(g["x"]): list(g["place"]) for _, g in frame.groupby("id")}
    for data in parts(task).values():
        for rows in rows_of(data, task):
            places = by_sequence[tuple(rows[:, 0].round(3))]
            assert rows[:, 1:].tolist() == [[place == "in", place == "out"] for place in places]


def test_a_missing_number_is_the_mean_and_a_mark(tmp_path):
    frame = walks()
    frame.loc[::5, "x"] = np.nan
    task = table(written(tmp_path, frame), missing="mask")
    by_sequence = {tuple(g["y"]): g["x"].isna().to_numpy() for _, g in frame.groupby("id")}
    for data in parts(task).values():
        for inputs, rows in zip(data.inputs, rows_of(data, task), strict=True):
            gaps = by_sequence[tuple(rows[:, 1].round(3))]
            assert (inputs[: len(rows), 0].numpy()[gaps] == 0).all()
            assert rows[:, 2].tolist() == gaps.tolist()


def test_elapsed_time_is_a_feature(tmp_path):
    frame = walks()
    task = table(written(tmp_path, frame), numbers=["x"], elapsed=True)
    by_sequence = {tuple(g["x"]): g["t"].diff().fillna(0).tolist() for _, g in frame.groupby("id")}
    for data in parts(task).values():
        for rows in rows_of(data, task):
            expected = by_sequence[tuple(rows[:, 0].round(3))]
            np.testing.assert_allclose(rows[:, 1], expected, atol=1e-5)


@pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
def test_dates_are_times(tmp_path, zone):
    frame = walks()
    days = pd.Timestamp("2026-03-28") + pd.to_timedelta(frame["t"], unit="D")
    dated = frame.assign(t=days.dt.strftime("%Y-%m-%dT%H:%M:%S") + zone)
    dated = dated.sample(frac=1, random_state=2)
    by_number = table(written(tmp_path, dated.assign(t=frame["t"]))).dataset("train")
    by_date = table(written(tmp_path, dated, "dated.csv")).dataset("train")
    assert torch.equal(by_number.inputs, by_date.inputs)


def test_a_wide_table_is_a_long_table_of_one_feature(tmp_path):
    generator = np.random.default_rng(5)
    values = generator.normal(size=(40, 6)).round(3)
    wide = pd.DataFrame(values, columns=[f"s{step}" for step in range(6)])
    wide.loc[::4, "s5"] = np.nan  # shorter sequences
    wide["label"] = np.arange(40) % 3
    long = wide.melt("label", var_name="t", ignore_index=False).reset_index(names="id")
    long = long.assign(t=long["t"].str[1:].astype(int)).dropna().sort_values(["id", "t"])
    one = table(written(tmp_path, wide), layout="wide", group=None, time=None, numbers=None)
    other = table(written(tmp_path, long, "long.csv"), numbers=["value"])
    for split in SPLITS:
        first, second = one.dataset(split), other.dataset(split)
        assert torch.equal(first.inputs, second.inputs)
        assert torch.equal(first.lengths, second.lengths)
        assert torch.equal(first.target, second.target)


def test_a_column_names_the_split_of_each_sequence(tmp_path):
    frame = walks()
    number = frame["id"].str[1:].astype(int)
    frame["part"] = np.select([number < 20, number < 24], ["train", "VAL"], "test")
    data = parts(table(written(tmp_path, frame), split="column", split_column="part"))
    assert {split: len(each) for split, each in data.items()} == {
        "train": 20,
        "validation": 4,
        "test": 6,
    }


def test_classes_that_are_numbers_are_ordered_by_value(tmp_path):
    frame = walks()
    frame["label"] = frame["id"].str[1:].astype(int) % 3 * 5
    facts = table(written(tmp_path, frame)).facts()
    assert facts.table is not None
    assert facts.table["classes"] == ("0", "5", "10")


def test_a_class_that_the_train_split_lacks_is_refused(tmp_path):
    frame = walks()
    number = frame["id"].str[1:].astype(int)
    frame["part"] = np.where(number < 24, "train", "test")
    frame.loc[number == 28, "label"] = "still"
    with pytest.raises(UserError, match="the class 'still' occurs in the test split and not"):
        parts(table(written(tmp_path, frame), split="column", split_column="part"))


def test_a_category_that_the_train_split_lacks_is_refused(tmp_path):
    frame = walks()
    number = frame["id"].str[1:].astype(int)
    frame["part"] = np.where(number < 24, "train", "test")
    frame.loc[number == 28, "place"] = "roof"
    settings = {"split": "column", "split_column": "part", "categories": ["place"]}
    with pytest.raises(UserError, match="the train split has no category 'roof'"):
        parts(table(written(tmp_path, frame), **settings))


def test_a_sequence_in_two_splits_is_refused(tmp_path):
    frame = walks()
    frame["part"] = np.where(frame.index < 60, "train", "test")
    with pytest.raises(UserError, match="One sequence stands in two splits"):
        parts(table(written(tmp_path, frame), split="column", split_column="part"))


SETTING_MISTAKES = {
    "no features": ({"numbers": None}, "at least one column"),
    "target among the features": ({"numbers": ["x", "label"]}, "read its answer"),
    "column of two kinds": ({"categories": ["x"]}, "stands in `numbers` and in `categories`"),
    "window without question": ({"window": 5}, "if, and only if"),
    "question without window": ({"ask": "window"}, "if, and only if"),
    "split by time of sequences": ({"split": "time"}, "needs `ask: window`"),
    "last with steps": ({"ask": "step", "last": 3}, "no meaning with `ask: step`"),
    "last above window": ({"ask": "window", "window": 3, "last": 4}, "more than window"),
    "horizon of a sequence": ({"horizon": 2}, "only with `ask: window`"),
    "negative window": ({"ask": "window", "window": 0}, "1 or more"),
    "elapsed without time": ({"time": None, "elapsed": True}, "needs `time`"),
    "shares": ({"validation_share": 0.5, "test_share": 0.5}, "below 1"),
    "column of splits": ({"split": "column"}, "if, and only if"),
    "unknown column": ({"numbers": ["xx"]}, "no column 'xx' (numbers). Did you mean 'x'?"),
    "group and wide": ({"layout": "wide"}, "no meaning with `layout: wide`"),
}


@pytest.mark.parametrize("mistake", SETTING_MISTAKES)
def test_settings_that_contradict_each_other_are_refused(tmp_path, mistake):
    changes, words = SETTING_MISTAKES[mistake]
    with pytest.raises(UserError) as refusal:
        table(written(tmp_path, walks()), **changes).facts()
    assert words in str(refusal.value)


def lines(*rows: str) -> bytes:
    return "\n".join(rows).encode() + b"\n"


def many(change: tuple[int, str] | None = None, header: str = "id,t,x,y,label") -> bytes:
    """Twenty sequences of two steps; `change` replaces a row, counted as a spreadsheet does."""
    rows = [header]
    for number in range(20):
        rows += [f"p{number},{step},{number}.5,{step},{'ab'[number % 2]}" for step in (0, 1)]
    if change:
        rows[change[0] - 1] = change[1]
    return lines(*rows)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "only a header": (lines("id,t,x,y,label"), "no row below its header"),
    "blank header": (lines(",,,,", "p,0,1,1,a"), "has no header"),
    "column without a name": (many(header="id,t,,y,label"), "row 1: column 3 has no name"),
    "column twice": (many(header="id,t,x,x,label"), "columns 3 and 4 are both named 'x'"),
    "Latin-1": (many((7, "p2,1,1,1,caf\u00e9")).decode().encode("latin-1"), "row 7: the byte 0xe9"),
    "UTF-16": (many().decode().encode("utf-16"), "is UTF-16 text"),
    "binary": (b"\x00\x01\x02\xff\xfe" * 50, "is no text file"),
    "too many fields": (many((5, "p1,1,1.5,1,a,9")), "row 5 has 6 fields, but the header has 5"),
    "too few fields": (many((5, "p1,1,1.5")), "row 5 has 3 fields, but the header has 5"),
    "open quote": (many((5, 'p1,1,"1.5,1,a')), "row 5 has"),
    "blank line": (many((6, "")), "row 6 is blank"),
    "text among numbers": (many((9, "p3,1,high,1,b")), "row 9, column 'x': 'high' is no number"),
    "decimal comma": (many((9, 'p3,1,"1,5",1,b')), "decimal point"),
    "date among numbers": (many((9, "p3,1,2026-01-02,1,b")), "It is a date"),
    "formula": (many((9, 'p3,1,"=HYPERLINK(""x"")",1,b')), "is no number"),
    "infinite": (many((9, "p3,1,inf,1,b")), "row 9, column 'x': the value is infinite"),
    "missing number": (many((9, "p3,1,NA,1,b")), "missing, as in 1 of 40 rows"),
    "missing group": (many((9, ",1,3.5,1,b")), "row 9, column 'id': the value is missing"),
    "missing time": (many((9, "p3,,3.5,1,b")), "row 9, column 't': the time is missing"),
    "missing target": (many((9, "p3,1,3.5,1,")), "row 9, column 'label': the target is missing"),
    "time twice": (many((9, "p3,0,3.5,1,b")), "the time 0 of the sequence 'p3' stands in row 8"),
    "time that is a word": (many((9, "p3,late,3.5,1,b")), "neither a number nor a date"),
    "two targets": (many((9, "p3,1,3.5,1,a")), "row 9, column 'label': the value 'a' differs"),
    "one class": (many().replace(b",b\n", b",a\n"), "1 class"),
    "one sequence": (lines("id,t,x,y,label", "p,0,1,1,a", "p,1,1,1,a"), "1 class"),
    "three sequences": (
        lines("id,t,x,y,label", "p,0,1,1,a", "q,0,1,1,b", "r,0,1,1,a"),
        "occurs in the",
    ),
    "wrong delimiter": (many().replace(b",", b":"), "unknown delimiter"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_file_is_refused_with_its_place(tmp_path, mistake):
    content, words = BROKEN[mistake]
    path = tmp_path / "walks.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        parts(table(str(path)))
    assert words in str(refusal.value)
    assert "walks.csv" in str(refusal.value)


READABLE: dict[str, bytes] = {
    "byte-order mark": b"\xef\xbb\xbf" + many(),
    "semicolons": many().replace(b",", b";"),
    "tabs": many().replace(b",", b"\t"),
    "Windows lines": many().replace(b"\n", b"\r\n"),
    "empty lines at the end": many() + b"\n\n",
    "spaces around values": many()
    .replace(b",", b" , ")
    .replace(b"id , t , x , y , label", b"id,t,x,y,label"),
    "quotes": many().replace(b"p1,", b'"p1",'),
}


@pytest.mark.parametrize("form", READABLE)
def test_forms_of_one_table_are_equal(tmp_path, form):
    (tmp_path / "plain.csv").write_bytes(many())
    (tmp_path / "other.csv").write_bytes(READABLE[form])
    one, other = (
        table(str(tmp_path / name)).dataset("train") for name in ("plain.csv", "other.csv")
    )
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.target, other.target)


@pytest.mark.parametrize("seed", range(12))
def test_random_tables_are_read_back(tmp_path, seed):
    generator = np.random.default_rng(seed)
    names = ["a b", 'quo"te', "comma,name", "ünï", "=1+1"]
    frame = walks(int(generator.integers(10, 40)), seed)
    renamed = {"x": names[seed % 5], "id": names[(seed + 1) % 5], "label": names[(seed + 2) % 5]}
    frame["x"] *= 10.0 ** generator.integers(-6, 7)
    frame["id"] = frame["id"] + names[(seed + 3) % 5]
    task = table(
        written(tmp_path, frame.rename(columns=renamed)),
        group=renamed["id"], target=renamed["label"], numbers=[renamed["x"], "y"],
    )  # fmt: skip
    rows = [row for data in parts(task).values() for row in rows_of(data, task)]
    expected = sorted(g["y"].tolist() for _, g in frame.groupby("id"))
    assert sorted(row[:, 1].round(3).tolist() for row in rows) == expected
    total = np.concatenate(rows)[:, 0].sum()
    assert total == pytest.approx(frame["x"].sum(), rel=1e-4, abs=1e-3 * frame["x"].abs().max())


def test_many_short_sequences_need_no_loop(tmp_path):
    """A loop over sequences in Python would take minutes for this many."""
    count = 200_000
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.repeat(np.arange(count), 2),
            "t": np.tile([0, 1], count),
            "x": generator.normal(size=2 * count),
            "label": np.repeat(generator.integers(0, 2, count), 2),
        }
    )
    task = table(written(tmp_path, frame, "many.parquet"), numbers=["x"])
    assert len(task.dataset("train")) == 120_000
