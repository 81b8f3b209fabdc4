"""`task.json` as later stages read it."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lookback.commands import dispatch
from lookback.data import prepare
from lookback.data.adding import Adding
from lookback.data.batch import SequenceDataset
from lookback.data.content import as_prepared
from lookback.data.task import SPLITS, Facts
from lookback.errors import UserError
from lookback.runtime.instantiate import missing_file
from lookback.storage.atomic import read_json, write_json

OUT = Path("results/study/my_task/task.json")


def prepared(task):
    write_json("results/.plan/prepare/4567.yaml", {"stage": "prepare", "task": task})
    prepare.main(Path("results/.plan/prepare/4567.yaml"), OUT)
    return read_json(OUT)


@pytest.fixture
def adding(config):
    return config("task=adding") | {"length": 6, "train": 20, "validation": 0, "test": 10}


def test_the_file_holds_the_facts_the_name_and_the_plans(project, adding):
    written = prepared(adding)
    of_train = {"padded_length": 6, "queries": 1}
    assert Facts.from_dict(written) == replace(instantiate(adding).facts(), **of_train)
    assert written["name"] == "my_task"
    assert written["plans"] == {"prepare": "4567"}


def test_a_split_that_each_run_draws_has_no_digest(project, adding):
    shared, per_run = prepared(adding), prepared(adding | {"seed": "per_run"})
    assert set(shared["digest"]) == {*SPLITS}
    assert per_run["digest"] == {"test": shared["digest"]["test"]}


def by_hand(task):
    """The shortest length and the offsets of the queries, one sequence after the other."""
    shortest, offsets = 10**9, set()
    for split in SPLITS:
        data = task.dataset(split)
        for length, query in zip(data.lengths.tolist(), data.query.tolist(), strict=True):
            shortest = min(shortest, length)
            offsets.add(tuple(step - length for step in query if step >= 0))
    return shortest, list(offsets.pop()) if len(offsets) == 1 else None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("listops", [-1]),
        ("adding", [-1]),
        ("copy", [*range(-10, 0)]),
        ("selective_copy", [*range(-8, 0)]),
        ("associative_recall", None),
    ],
)
def test_the_shortest_length_and_the_offsets_of_the_queries_are_those_of_all_sequences(
    project, config, name, expected
):
    settings = config(f"task={name}") | {"train": 30, "validation": 0, "test": 10}
    written = prepared(settings)
    assert written["asked"] == expected
    task = instantiate(settings)
    assert (written["shortest"], written["asked"]) == by_hand(task)
    train = task.dataset("train")
    assert (written["padded_length"], written["queries"]) == (
        train.inputs.shape[1],
        train.query.shape[1],
    )


@pytest.mark.parametrize(
    ("queries", "offsets"),
    [
        ([[[6, 4], [3, 1]]], [-1, -3]),
        ([[[6, 4], [3, 2]]], None),
        ([[[-1, 6, 4], [3, -1, 1]]], [-1, -3]),  # padding queries do not count
        ([[[6, 4], [3, -1]]], None),
        ([[[6], [3]], [[-1, 6], [3, -1]]], [-1]),
        ([[[6], [3]], [[5], [2]]], None),  # the splits differ
    ],
)
def test_the_offsets_leave_out_padding_queries_and_must_agree_in_all_sequences(queries, offsets):
    datasets = [
        SequenceDataset(
            inputs=torch.zeros(2, 7, 1),
            lengths=torch.tensor([7, 4]),
            query=torch.tensor(query),
            target=torch.zeros_like(torch.tensor(query)),
        )
        for query in queries
    ]
    assert prepare.asked(datasets) == offsets


class FromFile(Adding):
    """A task that reads a file in its constructor, or only with its data."""

    def __init__(self, file: str, reads: str, more: dict):
        super().__init__(**more)
        self.file, self.reads = file, reads
        if reads == "constructor":
            Path(file).read_text()

    def dataset(self, split):
        if self.reads == "numpy":  # its error names the file in the message alone
            np.loadtxt(self.file)
        Path(self.file).read_text()
        return super().dataset(split)


@pytest.mark.parametrize("reads", ["constructor", "dataset", "numpy"])
@pytest.mark.parametrize("file", ["own/nothing.csv", "own"])
def test_a_missing_file_is_one_sentence_with_the_file_and_the_setting(
    project, adding, capsys, reads, file
):
    (project / "own").mkdir()
    task = {"_target_": f"{__name__}.FromFile", "file": file, "reads": reads}
    write_json("plan.yaml", {"task": {**task, "more": settings_of(adding)}})
    assert dispatch.run(["prepare", "plan=plan.yaml", "out=task.json"], forked=True) == 2
    printed = capsys.readouterr().err
    assert f"The setting `file: {file}` needs a file that cannot be read ({file}" in printed
    assert len(printed.splitlines()) == 1


def test_a_missing_file_that_no_setting_names_is_named_with_the_class():
    error = FileNotFoundError(2, "No such file or directory", "rows.csv")
    config = {"_target_": "own.Task", "order": "rows", "where": {"folder": "ro"}}
    message = str(missing_file(config, error))
    assert message.startswith("own.Task needs a file that cannot be read (rows.csv: No such file")
    config["where"]["file"] = "rows.csv"
    assert "`where.file: rows.csv`" in str(missing_file(config, error))


def test_a_file_that_may_not_be_opened_keeps_its_kind_of_error(project, monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "own/secret.csv")

    monkeypatch.setattr(Adding, "__init__", refuse)
    write_json("plan.yaml", {"task": {"_target_": "lookback.data.adding.Adding"}})
    assert dispatch.run(["prepare", "plan=plan.yaml", "out=task.json"], forked=True) == 2
    assert "own/secret.csv may not be opened" in capsys.readouterr().err


def test_a_file_from_before_there_was_an_optimum_is_still_read(project, adding):
    written = prepared(adding)
    assert written.pop("optimum") == 0.0
    assert Facts.from_dict(written).optimum is None


def test_a_downloaded_task_names_the_plan_of_its_download_too(project, fetched, config):
    task = config("task=digits_rows")
    with pytest.raises(UserError, match=r"digits.*start again"):
        prepared(task)
    fetched("digits")
    assert prepared(task)["plans"] == {"prepare": "4567", "download": "plan-of-download"}


def test_the_digests_see_one_changed_value_in_any_tensor_of_any_split(project, adding):
    prepared(adding | {"validation": 5})
    task = instantiate(adding | {"validation": 5})
    digests = read_json(OUT)["digest"]
    for split in SPLITS:
        as_prepared(task, split, digests)
        for name in ("inputs", "lengths", "query", "target", "lag"):
            changed = Changed(**settings_of(adding) | {"validation": 5})
            changed.where = (split, name)
            with pytest.raises(UserError, match=f"the {split} split .* differs from .*task.json"):
                as_prepared(changed, split, digests)


class Changed(Adding):
    """The same task with one changed element, like the task of another library release."""

    where = (None, None)

    def dataset(self, split):
        dataset = super().dataset(split)
        if split == self.where[0]:
            getattr(dataset, self.where[1]).view(-1)[0] += 1
        return dataset


def settings_of(config):
    return {key: value for key, value in config.items() if key != "_target_"}


def test_a_mistake_in_the_settings_reaches_the_user_as_such(project, adding):
    with pytest.raises(UserError, match="length: 1 is too short"):
        prepared(adding | {"length": 1})
    assert not OUT.exists()


def test_a_fault_of_the_code_keeps_its_traceback(project, adding):
    with pytest.raises(Exception, match="unexpected keyword") as caught:
        prepared(adding | {"lenght": 1})
    assert not isinstance(caught.value, UserError)
