# What a model must know of a task: shapes, scaling fitted on train, the trivial baseline.
def manifest_of_task(wildcards):
    dataset = INDEX["tasks"][wildcards.task]["dataset"]
    return [f"results/data/{dataset}/manifest.json"] if dataset else []


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
