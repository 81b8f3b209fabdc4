# The rules of this file read the results that exist, and name the results that are missing.


# Tables over all cells: scores with confidence intervals over seeds, cost, comparisons of models,
# and the memory card, which tells how far back each model remembers.
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


# Draw the report's figures, with a first version of the page. The page is made twice: tracking
# uploads the figures, and the final page links to the runs that tracking wrote.
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


# Send each cell and each seed to MLflow as a run: parameters, learning curves, scores and files.
# The receipt lists the runs. The job reads the address of MLflow in the environment variable
# MLFLOW_TRACKING_URI, because an argument or a plan would show a password.
rule track:
    input:
        plan=plan_of("track"),
        drawn=DRAFT,
    output:
        RECEIPT,
    log:
        f"{STUDY}/log/track.log",
    shell:
        "{LOOKBACK} track plan={input.plan:q} out={output:q} > {log:q} 2>&1"


# The final report: one HTML page with tables, figures, provenance and links to the MLflow runs.
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
