# Measure one property of the trained networks of a cell, seed by seed: recall by lag, gradient
# flow, Lyapunov exponents, memory capacity, gate time scales, … Each probe of each cell is one
# file. Adding a probe to a study runs only that probe; nothing is trained again.
rule probe:
    input:
        plan=plan_of("probe"),
        task=f"{STUDY}/{{task}}/task.json",
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


# Attribute the predictions of the trained networks of a cell to the time steps of their inputs,
# with one explainer. Then score whether the attributions can be believed, e.g. whether they find the
# evidence that the task placed, beside attributions that explain nothing. Each explainer of each cell
# is one pair of files.
rule explain:
    input:
        plan=plan_of("explain"),
        task=f"{STUDY}/{{task}}/task.json",
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
