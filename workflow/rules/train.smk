# One job trains all seeds of a cell: imports alone cost seconds. Seeds that are finished are kept in
# results/.runs, which Snakemake does not know, so only the missing ones are trained.
rule train:
    input:
        plan=plan_of("train"),
        task=f"{STUDY}/{{task}}/task.json",
    output:
        config=cell("config.yaml"),
        history=cell("history.parquet"),
        metrics=cell("metrics.json"),
        predictions=cell("predictions.parquet"),
        cost=cell("cost.json"),
        checkpoints=directory(cell("checkpoints")),  # one a seed, but for seeds that diverged
    log:
        cell("log/train.log"),
    threads: 1
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
