def threads_of_cell(wildcards):
    """As many as it computes with; where `--cores` gives fewer, it computes with as many still."""
    trained = INDEX["study"]["trained"][f"{wildcards.task}/{wildcards.model}"]
    return trained["trainer"]["threads"]


# A study's `tune` tries each cell's values on validation alone; what it chose is an input of training.
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


def tuned(wildcards):
    """What tuning chose for a cell, in a study that tunes."""
    name = f"{wildcards.task}/{wildcards.model}"
    return [f"{STUDY}/{name}/tune.json"] if "tune" in CELLS[name] else []


# One job trains all seeds of a cell: imports alone cost seconds. Seeds that are finished are kept in
# results/.runs, which Snakemake does not know, so only the missing ones are trained.
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
        checkpoints=directory(cell("checkpoints")),  # one a seed, but for seeds that diverged
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
        "{LOOKBACK} train plan={input.plan:q} task={input.task:q} seeds={params.seeds} "
        "out={params.folder:q} > {log:q} 2>&1"
