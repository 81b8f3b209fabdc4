"""What a tracking URI shows of its secrets, against URIs whose secret is known."""

import subprocess
import sys

import pytest

from lookback.storage.secrets import has_secret, redacted, without_secrets

# Each URI is written with {} where its secrets are.
WITH_SECRET = [
    ("postgresql://ada:{}@host:5432/db", "s3cret"),
    ("postgresql+psycopg2://ada:{}@host/db?sslmode=require", "s3/c?r#e@t"),
    ("postgresql://ada:{}@host/db", "s3cret?x"),
    ("https://{}@host:5000", "t0ken"),
    ("https://{}@host:5000", "t0/ken"),
    ("https://{}@host/path?timeout=3", ":s3cret"),
    ("https://{}@host", "t0ken:"),
    ("https://host/?password={}", "s3cret"),
    ("https://host/?timeout=3&api_key={}&mode=ro", "s3cret"),
    ("https://host/?mode=ro;password={}", "s3cret"),
    ("https://host/?{}", "c2VjcmV0="),
    ("https://host/?={}", "s3cret"),
    ("https://host/#{}", "s3cret"),
    ("mssql://host/db?odbc_connect={}", "PWD%3Ds3cret"),
    ("sqlite:////home/ada@lab/mlflow.db?key={}", "s3cret"),
    ("ada:{}@host", "s3cret"),
    ("ada:{}", "s3cret"),
    ("http://ada:{}", "s3cret/path"),
    ("postgresql://ada:{}", "s3cret"),
    ("postgresql://ada:{}", "s3cret?sslmode=require"),
    ("postgresql://ada:{}", "5432x/db"),
    ("mssql+pyodbc://source;PWD={}", "s3cret"),
    ("postgresql://host/db;PWD={}", "s3cret"),
    ("https://host;password={}", "s3cret"),
    ("https://host:5000;timeout=3;password={}", "s3cret"),
    ("sqlite:///results/mlflow.db;password={}", "s3cret"),
    ("https://host/?user={}", "ada:s3cret"),
    ("https://host/?user={}&timeout=3", "ada:12345"),
    ("https://host/?user={}", "ada%3As3cret"),
    ("https://host/?uri=https://ada:{}@other", "s3cret"),
    ("https://host/?uri={}", "https%3A%2F%2Fada%3As3cret%40other"),
    ("https://host/?host={}@other:5432", "t0ken"),
    ("ada:{}@host?uri=http://other", "s3cret"),
]
WITHOUT_SECRET = [
    "sqlite:///results/mlflow.db",
    "sqlite:////home/ada@lab/results/mlflow.db?timeout=60",
    "http://127.0.0.1:5000",
    "http://[::1]:5000/mlflow",
    "http://[::1]",
    "postgresql://one:5432,other:5433/db",
    "postgresql:///db?host=one:5432,other:5433",
    "postgresql://host:5432/db?sslmode=require&connect_timeout=3",
    "databricks",
    "databricks://profile",
    "file:./mlruns",
    "file:///home/ada:lab/mlruns",
    "sqlite:///ada:lab/mlflow.db",
    "./mlruns",
]


@pytest.mark.parametrize(("template", "secret"), WITH_SECRET)
def test_a_secret_is_hidden_and_the_rest_of_the_uri_is_shown(template, secret):
    uri = template.format(secret)
    assert redacted(uri) == template.format("…")
    assert redacted(redacted(uri)) == redacted(uri)
    assert has_secret(uri)


@pytest.mark.parametrize("uri", WITHOUT_SECRET)
def test_a_uri_without_a_secret_is_shown_as_it_is(uri):
    assert redacted(uri) == uri
    assert not has_secret(uri)
    assert without_secrets(f"no answer of {uri}", uri) == f"no answer of {uri}"


@pytest.mark.parametrize(
    "said",
    [
        "could not parse postgresql://ada:p%40ss%2Fw0rd@host/db?password=qu3ry",
        "no host named ss/w0rd@host",
        "wrong password: p@ss/w0rd",
        "port could not be cast to an integer: 'w0rd'",
        "url: /?password=qu3ry/api/2.0/mlflow",
    ],
)
def test_a_message_that_quotes_a_uri_in_part_or_decoded_tells_no_secret(said):
    shown = without_secrets(said, "postgresql://ada:p%40ss%2Fw0rd@host/db?password=qu3ry")
    assert "…" in shown
    assert not [part for part in ("p%40", "p@ss", "w0rd", "qu3ry") if part in shown]


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://ada:s3cret",
        "http://ada:s3cret/path",
        "mssql+pyodbc://source;PWD=s3cret",
        "https://host/?user=ada:s3cret",
        "https://host/?uri=https://ada:s3cret@other",
        "https://host/?uri=https%3A%2F%2Fada%3As3cret%40other",
    ],
)
def test_a_message_about_a_malformed_uri_tells_no_secret(uri):
    said = without_secrets(f"port is no number: 's3cret' in {uri}", uri)
    assert said.startswith("port is no number: '…' in ")
    assert "s3cret" not in said


def test_a_short_secret_leaves_the_words_around_it_readable():
    assert without_secrets("table db of user ab: b", "http://ada:b@host") == (
        "table db of user ab: …"
    )


def test_logs_warnings_and_tracebacks_of_a_process_tell_no_secret():
    code = """if True:
        import logging, warnings
        from lookback.storage.secrets import hide_in_output
        uri = "http://ada:s3cret@host/?key=qu3ry"
        hide_in_output(uri)
        logging.warning("log: %s", uri)
        warnings.warn(f"warning: {uri}")
        print("print:", uri)
        raise ValueError(f"error: {uri}") from KeyError("qu3ry")
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert all(word in said for word in ("log:", "warning:", "print:", "ValueError: error:"))
    assert said.count("http://ada:…@host/?key=…") == 4
    assert "s3cret" not in said
    assert "qu3ry" not in said
