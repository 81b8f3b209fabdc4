"""`lookback predict CELL --data FILE --out FILE`: the answers of trained networks for a new table.

CELL is the folder of a model on a task, such as results/my-study/my-study/gru. The answers are the
means over the seeds of the cell: of the probabilities of the classes, or of the values.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lookback.commands.options import parsed
from lookback.data.table_file import read_table
from lookback.data.table_input import TableFacts, answers_in_words, padded, questions_of
from lookback.errors import UserError
from lookback.storage.atomic import write_text
from lookback.training.run import load_runs

OPTIONS = {
    "data": "CSV or Parquet file with the columns of the training table (required)",
    "out": "CSV file for the answers (required)",
}
AT_ONCE = 1_024  # questions in a batch


def predict(words: Sequence[str]) -> None:
    """Write the answers to all questions about a table to a CSV file.

    Raises UserError if the cell holds no trained networks, if its task is no table, or if the table
    cannot be read as in training.
    """
    given = parsed("predict", "cell", OPTIONS, (), words)
    try:
        runs = list(load_runs(Path(given.cell)))
    except FileNotFoundError as error:
        raise UserError(
            f"{given.cell} holds no trained networks. Give the folder of a model on a task, such "
            "as results/my-study/my-study/gru."
        ) from error
    if runs[0].facts.table is None:
        raise UserError(f"The task of {given.cell} is no table, so it answers no table.")
    facts = TableFacts.from_dict(runs[0].facts.table)
    frame = read_table(given.data)
    used = {*facts.columns, *facts.encoding.numbers, facts.group, facts.time, facts.target}
    used |= {name for name, _ in facts.encoding.categories}
    ignored = [name for name in frame if name not in used]
    questions = questions_of(given.data, frame, facts)
    count = len(questions.asked.first)
    answers = []
    for start in range(0, count, AT_ONCE):
        chosen = np.arange(start, min(start + AT_ONCE, count))
        batch = padded(questions.inputs, questions.asked, chosen)
        with torch.no_grad():
            outputs = torch.stack([run.model(*batch) for run in runs])
        mean = (outputs.softmax(-1) if facts.classes else outputs).mean(dim=0)
        answers.append(mean[batch[2] >= 0])
    answered = answers_in_words(torch.cat(answers), facts)
    write_text(given.out, pd.concat([questions.keys, answered], axis=1).to_csv(index=False))
    print(f"wrote {len(answered):,} answers of {len(runs)} seeds to {given.out}")
    if ignored:
        print(f"not used: {', '.join(map(str, ignored))}")
