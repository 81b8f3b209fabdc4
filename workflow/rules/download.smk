# Verified data, shared by all studies. A small manifest stands for the files, so that fetching the
# same content from another mirror reruns nothing.
rule download:
    input:
        plan=plan_of("download"),
    output:
        "results/data/{dataset}/manifest.json",
    log:
        "results/data/{dataset}/download.log",
    shell:
        "{LOOKBACK} download plan={input.plan:q} out={output:q} > {log:q} 2>&1"
