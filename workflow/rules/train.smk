@function_of_job
def threads_of_cell(wildcards):
    """The number of threads that the cell's trainer computes with.

    Training uses this number even if `--cores` is smaller, so that the results do not depend on
    `--cores`.
    """
    trained = INDEX["study"]["trained"][f"{wildcards.task}/{wildcards.model}"]
    return trained["trainer"]["threads"]


# Only in a study that tunes: train the cell with each combination of hyperparameters, and choose
# the combination with the best score on the validation split. The test split is not used. The
# chosen values are an input of rule train.
rule tune:
    input:
        plan=plan_of("tune"),
        task=f"{STUDY}/{{task}}/task.json",
    output:
        cell("tune.json"),
    log:
        cell("log/tune.log"),
    threads: threads_of_cell
    resources:
        gpu=INDEX["gpus"],
        mem_mb=4000,
        runtime=720,
    shell:
        "{LOOKBACK} tune plan={input.plan:q} task={input.task:q} out={output:q} > {log:q} 2>&1"


@function_of_job
def tuned(wildcards):
    """The tuning result of a cell; empty if the study does not tune."""
    name = f"{wildcards.task}/{wildcards.model}"
    return [f"{STUDY}/{name}/tune.json"] if "tune" in CELLS[name] else []


# Train all seeds of a cell, evaluate them on the test split, and write scores, learning curves,
# predictions, weights and cost. One job trains all seeds, because importing torch takes seconds.
# Finished seeds are also kept in results/.runs/. Snakemake does not delete that folder, so a rerun
# trains only the missing seeds.
rule train:
    input:
        plan=plan_of("train"),
        task=f"{STUDY}/{{task}}/task.json",
        tuned=tuned,
    output:
        config=cell("config.yaml"),
        history=cell("history.parquet"),
        metrics=cell("metrics.json"),
        predictions=cell("predictions.parquet"),
        cost=cell("cost.json"),
        checkpoints=directory(cell("checkpoints")),  # one file per seed that did not diverge
    log:
        cell("log/train.log"),
    threads: threads_of_cell
    resources:
        gpu=INDEX["gpus"],
        mem_mb=4000,
        runtime=720,
    params:
        seeds=",".join(map(str, INDEX["study"]["seeds"])),
        folder=cell(""),
    shell:
        "{LOOKBACK} train plan={input.plan:q} task={input.task:q} seeds={params.seeds:q} "
        "out={params.folder:q} > {log:q} 2>&1"
