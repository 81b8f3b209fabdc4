# One probe, or one explainer, of one cell is one file: adding one computes one.
rule probe:
    input:
        plan=plan_of("probe"),
        task=f"{STUDY}/{{task}}/task.json",
        config=cell("config.yaml"),
        metrics=cell("metrics.json"),
        checkpoints=rules.train.output.checkpoints,
    output:
        cell("probe/{probe}.parquet"),
    log:
        cell("log/probe-{probe}.log"),
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        folder=cell(""),
    shell:
        "{LOOKBACK} probe plan={input.plan:q} cell={params.folder:q} out={output:q} > {log:q} 2>&1"


rule explain:
    input:
        plan=plan_of("explain"),
        task=f"{STUDY}/{{task}}/task.json",
        config=cell("config.yaml"),
        metrics=cell("metrics.json"),
        checkpoints=rules.train.output.checkpoints,
    output:
        attributions=cell("explain/{explain}.npz"),
        scores=cell("explain/{explain}.scores.parquet"),
    log:
        cell("log/explain-{explain}.log"),
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        folder=cell(""),
    shell:
        "{LOOKBACK} explain plan={input.plan:q} cell={params.folder:q} out={output.attributions:q} "
        "> {log:q} 2>&1"
