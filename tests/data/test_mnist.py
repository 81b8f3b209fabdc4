"""MNIST: the format on hand-built bytes, the splits on tiny files, and the real files if given."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lookback.data.mnist import Mnist, read_idx
from lookback.data.task import SPLITS
from lookback.errors import UserError

IDX = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(12))
PUBLISHED = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def tiny(training=20, test=5):
    """Write MNIST files; an image holds its number everywhere, and its label is the last digit."""
    for part, count in {"train": training, "t10k": test}.items():
        folder = Path("results/data/mnist")
        folder.mkdir(parents=True, exist_ok=True)
        sizes = count.to_bytes(4), (28).to_bytes(4), (28).to_bytes(4)
        pixels = b"".join(bytes([number]) * 784 for number in range(count))
        labels = bytes(number % 10 for number in range(count))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\3" + b"".join(sizes) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1" + sizes[0] + labels)


def mnist(**changes):
    return Mnist(
        **{
            "dataset": {"name": "mnist"},
            "order": "rows",
            "validation": 6,
            "seed": 0,
            "permutation": None,
        }
        | changes
    )


def numbers(task, split):
    """The number that each image of a split holds."""
    return (task.dataset(split).inputs[:, 0, 0] * 255).round().int().tolist()


def test_one_order_of_pixels_is_drawn_for_all_images_of_all_splits(in_tmp):
    tiny()
    for path in Path("results/data/mnist").glob("*-images-*"):  # images that are not all alike
        head = path.read_bytes()[:16]
        path.write_bytes(head + np.random.default_rng(1).bytes(path.stat().st_size - 16))
    drawn = np.random.default_rng(4).permutation(784)
    for split in SPLITS:
        plain, permuted = (
            mnist(order="pixels", permutation=seed).dataset(split) for seed in (None, 4)
        )
        assert torch.equal(permuted.inputs, plain.inputs[:, drawn])
        assert torch.equal(permuted.target, plain.target)
    assert sorted(drawn) == list(range(784))
    assert not np.array_equal(drawn, np.arange(784))


def test_idx_is_read_as_its_bytes_say(tmp_path):
    path = tmp_path / "array"
    path.write_bytes(IDX)
    np.testing.assert_array_equal(
        read_idx(path), [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08", b"\1" + IDX[1:], b"\0\0\x0d" + IDX[3:], IDX[:-1], IDX + b"?", IDX[:9],
     b"\0\0\x08\0"],
    ids=["empty", "magic", "not idx", "floats", "short", "long", "head", "no dimension"],
)  # fmt: skip
def test_what_is_not_a_whole_idx_file_is_a_mistake(tmp_path, content):
    path = tmp_path / "array"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a complete IDX file"):
        read_idx(path)


def test_training_images_are_shared_between_train_and_validation_and_none_is_lost(project):
    tiny()
    train, validation = numbers(mnist(), "train"), numbers(mnist(), "validation")
    assert (len(train), len(validation)) == (14, 6)
    assert sorted(train + validation) == list(range(20))
    assert validation != list(range(14, 20))  # drawn, not the last of the file
    assert numbers(mnist(), "test") == list(range(5))
    assert [number % 10 for number in train] == mnist().dataset("train").target.flatten().tolist()


def test_without_validation_all_images_are_trained_on(project):
    tiny()
    task = mnist(validation=0)
    assert sorted(numbers(task, "train")) == list(range(20))
    empty = task.dataset("validation")
    assert empty.inputs.shape == (0, 28, 28)
    assert empty.target.shape == (0, 1)
    assert task.facts().sizes == {"train": 20, "validation": 0, "test": 5}


def test_pixels_are_the_rows_one_after_the_other(project):
    tiny()
    rows, pixels = mnist().dataset("test"), mnist(order="pixels").dataset("test")
    assert pixels.inputs.shape == (5, 784, 1)
    assert torch.equal(rows.inputs.flatten(1), pixels.inputs.flatten(1))
    assert rows.query.flatten().tolist() == [27] * 5
    assert pixels.query.flatten().tolist() == [783] * 5


@pytest.mark.parametrize("validation", [20, -1])
def test_a_validation_that_leaves_nothing_is_a_mistake(project, validation):
    tiny()
    with pytest.raises(UserError, match="train needs at least one image"):
        mnist(validation=validation).dataset("train")


def test_missing_files_are_a_mistake_that_names_the_cure(project):
    with pytest.raises(UserError, match=r"results/data/mnist/manifest\.json"):
        mnist().facts()


def test_a_task_brings_its_dataset_and_the_mirror_of_the_environment(config, monkeypatch):
    monkeypatch.setenv("LOOKBACK_MNIST_MIRROR", "file:///somewhere")
    task = config("task=mnist_rows")
    assert task["dataset"] == config("dataset=mnist")
    assert task["dataset"]["mirrors"][0] == "file:///somewhere"
    monkeypatch.delenv("LOOKBACK_MNIST_MIRROR")
    assert config("task=mnist_rows")["dataset"]["mirrors"][0] is None


def test_two_tasks_in_one_study_keep_their_datasets_apart(config):
    """As a study composes them, each under a package of its own."""
    tasks = config("task@task.first=mnist_rows", "+task@task.second=digits_pixels")
    assert tasks["first"]["dataset"]["name"] == "mnist"
    assert tasks["second"]["dataset"]["name"] == "digits"
    assert tasks["second"]["_target_"] == "lookback.data.digits.Digits"


def test_the_real_files_hold_the_published_images(fetched, config):
    if not os.environ.get("LOOKBACK_MNIST_MIRROR"):
        pytest.skip("set LOOKBACK_MNIST_MIRROR to a folder with MNIST, such as file:///data/mnist")
    fetched("mnist")
    task = instantiate(config("task=mnist_rows"))
    splits = {split: task.dataset(split) for split in SPLITS}
    sizes = {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert {split: len(dataset) for split, dataset in splits.items()} == sizes
    training = torch.cat([splits["train"].target, splits["validation"].target]).flatten()
    assert training.bincount().tolist() == PUBLISHED
    inputs = splits["train"].inputs
    assert (inputs.min(), inputs.max()) == (0, 1)
    # the mean grey value of the 60,000 images, as commonly used to standardise them
    everything = torch.cat([inputs, splits["validation"].inputs])
    assert everything.mean(dtype=torch.float64) == pytest.approx(0.1307, abs=5e-5)
    assert everything.double().std() == pytest.approx(0.3081, abs=5e-5)
    # the most frequent digit, 1, is 1,135 of the 10,000 test images
    assert task.facts().baseline == 0.1135
