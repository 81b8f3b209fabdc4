def manifest_of_task(wildcards):
    """The manifest of the dataset that a task uses; empty for a synthetic task."""
    dataset = INDEX["tasks"][wildcards.task]["dataset"]
    return [f"results/data/{dataset}/manifest.json"] if dataset else []


# Write the facts about a task that models and tables need: shapes, classes, scaling fitted on the
# train split, the scores of the baselines, and a digest of the data of each split.
rule prepare:
    input:
        plan=plan_of("prepare"),
        data=manifest_of_task,
    output:
        f"{STUDY}/{{task}}/task.json",
    log:
        f"{STUDY}/{{task}}/log/prepare.log",
    shell:
        "{LOOKBACK} prepare plan={input.plan:q} out={output:q} > {log:q} 2>&1"
