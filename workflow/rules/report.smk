# Tables over cells, MLflow, and one report. They read what is there and name what is missing.
rule summarise:
    input:
        plan=plan_of("summarise"),
        trained=[f"{STUDY}/{name}/metrics.json" for name in CELLS],
        measured=[
            path
            for path in every_file_of_the_study()
            if path.endswith((".parquet", ".npz"))
        ],
    output:
        directory(f"{STUDY}/summary"),
    log:
        f"{STUDY}/log/summarise.log",
    shell:
        "{LOOKBACK} summarise plan={input.plan:q} out={output:q} > {log:q} 2>&1"


# Tracking takes the report's figures, and the report names tracking's runs: so it is made twice.
rule draw:
    input:
        plan=plan_of("report"),
        summary=f"{STUDY}/summary",
    output:
        DRAFT,
    log:
        f"{STUDY}/log/draw.log",
    shell:
        "{LOOKBACK} report plan={input.plan:q} summary={input.summary:q} out={output:q} > {log:q} 2>&1"


rule track:
    input:
        plan=plan_of("track"),
        drawn=DRAFT,
    output:
        RECEIPT,
    log:
        f"{STUDY}/log/track.log",
    shell:
        "{LOOKBACK} track plan={input.plan:q} uri={URI:q} out={output:q} > {log:q} 2>&1"


rule report:
    input:
        plan=plan_of("report"),
        summary=f"{STUDY}/summary",
        receipt=RECEIPT,
    output:
        REPORT,
    log:
        f"{STUDY}/log/report.log",
    shell:
        "{LOOKBACK} report plan={input.plan:q} summary={input.summary:q} out={output:q} > {log:q} 2>&1"
