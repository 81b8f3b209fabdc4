"""`task.json` as later stages read it."""

from pathlib import Path

import pytest
from hydra.utils import instantiate

from lookback.data import prepare
from lookback.data.adding import Adding
from lookback.data.content import as_prepared
from lookback.data.task import SPLITS, Facts
from lookback.errors import UserError
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
    assert Facts.from_dict(written) == instantiate(adding).facts()
    assert written["name"] == "my_task"
    assert written["plans"] == {"prepare": "4567"}


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
