# Fetch the files of a dataset from its mirrors and verify them by size and SHA-256. All studies
# share the files. The output is a small manifest with the digests of the files. Fetching the same
# content from another mirror leaves the manifest unchanged, so no other job runs again.
rule download:
    input:
        plan=plan_of("download"),
    output:
        "results/data/{dataset}/manifest.json",
    log:
        "results/data/{dataset}/download.log",
    shell:
        "{LOOKBACK} download plan={input.plan:q} out={output:q} > {log:q} 2>&1"
