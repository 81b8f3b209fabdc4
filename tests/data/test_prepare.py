"""`task.json` as the stages after it read it."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from lookback.data import prepare
from lookback.data.task import SPLITS, Facts
from lookback.errors import Mistake
from lookback.files import read_json, write_json

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


def test_a_downloaded_task_names_the_plan_of_its_download_too(project, fetched, config):
    task = config("task=digits_rows")
    with pytest.raises(Mistake, match=r"digits.*start again"):
        prepared(task)
    fetched("digits")
    assert prepared(task)["plans"] == {"prepare": "4567", "download": "plan-of-download"}


def test_the_digest_sees_one_changed_value_in_any_tensor_of_any_split(adding):
    class Changed(type(instantiate(adding))):
        """The same task, but for one element."""

        where = (None, None)

        def dataset(self, split):
            dataset = super().dataset(split)
            if split == self.where[0]:
                getattr(dataset, self.where[1]).view(-1)[0] += 1
            return dataset

    settings = {key: value for key, value in adding.items() if key != "_target_"}
    task = Changed(**settings | {"validation": 5})
    digests = {prepare.digest_of(task)}
    tensors = ["inputs", "lengths", "query", "target", "lag"]
    for split in SPLITS:
        for name in tensors:
            task.where = (split, name)
            digests.add(prepare.digest_of(task))
    assert len(digests) == 1 + len(SPLITS) * len(tensors)
    assert all(isinstance(getattr(task.dataset("test"), name), torch.Tensor) for name in tensors)


def test_a_mistake_in_the_settings_reaches_the_user_as_such(project, adding):
    with pytest.raises(Mistake, match="length 1 is too short"):
        prepared(adding | {"length": 1})
    assert not OUT.exists()


def test_a_fault_of_the_code_keeps_its_traceback(project, adding):
    with pytest.raises(Exception, match="unexpected keyword") as caught:
        prepared(adding | {"lenght": 1})
    assert not isinstance(caught.value, Mistake)
