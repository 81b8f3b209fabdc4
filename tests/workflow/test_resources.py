"""What a job asks of the machine, as Snakemake's own dry run tells it."""

import re

STUDY = """# Do cells that compute with more threads get them?
tasks: [adding]
models:
  rnn:
  gru: {overrides: [trainer.threads=2]}
seeds: 1
"""


def test_a_cell_occupies_as_many_cores_as_it_computes_with(fresh):
    (fresh.root / "conf/study/small.yaml").write_text(STUDY)
    said = fresh.run("-n", "--workflow-profile", "none", cores=4)
    jobs = re.findall(r"^rule train:\n(?:    .*\n)+", said, re.MULTILINE)
    threads = {
        re.search(r"model=(\w+)", job)[1]: int((re.search(r"threads: (\d)", job) or "01")[1])
        for job in jobs
    }
    assert threads == {"rnn": 1, "gru": 2}
