"""`lookback init NAME --data FILE --target COLUMN`: write a task and a study for a table.

The command reads the whole table, prints what it sees and what it will do about it, and writes
conf/task/NAME.yaml and conf/study/NAME.yaml. A person can change both files afterwards.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from lookback.commands.options import parsed
from lookback.data.table_proposal import Choice, choose
from lookback.data.task import Task
from lookback.errors import UserError
from lookback.planning.names import check_name
from lookback.runtime.instantiate import instantiate
from lookback.storage.atomic import write_text
from lookback.storage.paths import PROJECT

MODELS = ("rnn", "lstm", "gru", "attention", "tcn")


OPTIONS = {
    "data": "CSV or Parquet file (required)",
    "target": "column to predict (required)",
    "time": "column that orders the steps of a sequence",
    "group": "column that names the sequence of a row",
    "horizon": "ask for the target so many steps after a window",
    "window": "steps of a window",
    "split": "column that holds train, validation or test",
}


def init(words: Sequence[str]) -> None:
    """Write conf/task/NAME.yaml and conf/study/NAME.yaml, and print what the table holds.

    Raises UserError if an option is wrong, if the table cannot be used, or if one of the files
    exists and `--force` is not given.
    """
    given = parsed("init", "name", OPTIONS, ("force",), words)
    files = {group: PROJECT / "conf" / group / f"{given.name}.yaml" for group in ("task", "study")}
    for group, path in files.items():
        check_name(group, given.name, "lookback init")
        if path.exists() and not given.force:
            raise UserError(
                f"{path.relative_to(PROJECT)} exists. Choose another name, or write over it with "
                "--force."
            )
    choice = choose(
        given.data,
        given.target,
        time=given.time,
        group=given.group,
        horizon=_steps("horizon", given.horizon),
        window=_steps("window", given.window),
        split=given.split,
    )
    task: Task = instantiate({"_target_": "lookback.data.table.Table", **choice.settings})
    sizes = ", ".join(f"{split} {count:,}" for split, count in task.facts().sizes.items())
    for heading, text in (*choice.seen, ("splits", sizes), ("question", choice.question)):
        print(f"{heading + ':':<12}{text}")
    texts = {"task": task_yaml(choice), "study": study_yaml(given.name, choice)}
    for group, path in files.items():
        write_text(path, texts[group])
        print(f"{'wrote:':<12}{path.relative_to(PROJECT)}")
    if choice.settings["ask"] == "step":
        print(f"\nThe networks answer at every step. For a forecast of {given.target}: --horizon 1")
    print(f"\nNow run:    snakemake --cores 2 --config study={given.name}")


def _steps(name: str, text: str | None) -> int | None:
    """The number of steps in the text of an option, or None without the option."""
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise UserError(f"`lookback init`: --{name} {text} is no whole number, such as 1.")
    return int(text)


COMMENTS = {
    "file": "path from the project's folder",
    "layout": "long: one step a row; wide: one sequence a row",
    "group": "column that names the sequence of a row",
    "time": "column that orders the steps of a sequence",
    "numbers": "columns of numbers",
    "categories": "columns of categories",
    "kind": "class or value",
    "ask": "sequence, step or window",
    "window": "steps of a window",
    "horizon": "steps from the end of the window to the target",
    "last": "the network sees only so many last steps; null: all",
    "missing": "error, or mask: the mean and a mark",
    "elapsed": "the time since the previous step as a feature",
    "split": "random, time or column",
    "validation_share": "share of the sequences, or of the time of a series",
}


def task_yaml(choice: Choice) -> str:
    """The text of the YAML of the task."""
    lines = [f"# {choice.question}", "_target_: lookback.data.table.Table"]
    for key, value in choice.settings.items():
        text = f"{key}: {_inline(value)}"
        lines.append(f"{text:<28}  # {COMMENTS[key]}" if key in COMMENTS else text)
    return "\n".join(lines) + "\n"


def study_yaml(name: str, choice: Choice) -> str:
    """The text of the YAML of the study, whose task has the name `name`."""
    return (
        f"# {choice.question}\n"
        f"tasks: [{name}]\n"
        f"models: [{', '.join(MODELS)}]\n"
        "seeds: 3\n"
        "overrides: [trainer.max_steps=600, recipe.optimizer.lr=0.01, model.hidden_size=32]\n"
        "probes: [effective_context, gradient_flow]\n"
        "explainers: [integrated_gradients, occlusion]\n"
    )


def _inline(value: Any) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n...\n").strip()
