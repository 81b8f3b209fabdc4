"""Hide the passwords and tokens in the tracking URI of MLflow.

A tracking URI can hold a secret in three places: `user:password@`, `token@`, and the value of a
query key, as in `?password=…`. No file, no message and no argument of a process may show the
secret. The URI with the secret reaches a job only in the environment variable MLFLOW_TRACKING_URI.
"""

import os
import re
import sys
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

VARIABLE = "MLFLOW_TRACKING_URI"
HIDDEN = "…"  # replaces a secret
# The query keys whose values are shown. All other values may be secrets.
HARMLESS_KEYS = (
    *("application_name", "cache", "charset", "check_same_thread", "connect_timeout", "dbname"),
    *("driver", "host", "immutable", "isolation_level", "mode", "nolock", "port", "sslmode"),
    *("timeout", "uri", "user"),
)
# `user:` at the start of an address whose host is not followed by a port number.
_PASSWORD_STARTS = re.compile(r"[^/?#@]*:(?!\d*(?:[/?#]|$))")


def redacted(uri: str) -> str:
    """The tracking URI `uri` with each secret replaced by «…».

    If the URI can be read in two ways, the function hides more. A redacted URI stays unchanged.
    """
    scheme, user, rest, query = _parts(uri)
    if user:
        name, _, password = user.partition(":")
        user = f"{name}:{HIDDEN}@" if name and password else f"{HIDDEN}@"
    shown = [_shown(setting) for setting in re.split("([&;])", query)]
    return scheme + user + rest + "".join(shown)


def has_secret(uri: str) -> bool:
    """Whether a tracking URI holds a secret, or is redacted."""
    return HIDDEN in redacted(uri)


def without_secrets(text: str, uri: str) -> str:
    """`text` with each secret of the tracking URI `uri` replaced by «…».

    Libraries quote a URI in their error messages, as a whole, in parts, or percent-decoded. The
    function replaces all these forms.
    """
    text = text.replace(uri, redacted(uri))
    for form in sorted(_forms(uri), key=len, reverse=True):
        # A short secret can be a part of a word, so it is replaced only if it stands alone.
        edges = (r"(?<!\w)", r"(?!\w)") if len(form) < 4 else ("", "")
        text = re.sub(edges[0] + re.escape(form) + edges[1], HIDDEN, text)
    return text


def hide_in_output(uri: str) -> None:
    """Hide the secrets of `uri` in all that this process prints from now on, tracebacks included.

    MLflow and its libraries print log messages and warnings that quote the URI.
    """
    if has_secret(uri):
        sys.stdout, sys.stderr = _Redacted(sys.stdout, uri), _Redacted(sys.stderr, uri)


def forget_empty_uri() -> None:
    """Remove MLFLOW_TRACKING_URI from the environment if the variable is empty."""
    if not os.environ.get(VARIABLE, "").strip():
        os.environ.pop(VARIABLE, None)


class _Redacted:
    """A text stream that hides the secrets of a URI in all that is written to it."""

    def __init__(self, stream: Any, uri: str):
        self._stream = stream
        self._uri = uri

    def write(self, text: str) -> int:
        self._stream.write(without_secrets(text, self._uri))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _parts(uri: str) -> tuple[str, str, str, str]:
    """The scheme with `://`, the user information, the host with the path, and `?` with the query.

    The function does not use urlsplit, because SQLAlchemy also accepts a password that contains
    `/`, `?` or `#`.
    """
    scheme, separator, address = uri.partition("://")
    if not separator:
        scheme, address = "", uri
    user = ""
    if not (scheme.startswith("sqlite") and address.startswith("/")):
        before_query = address.partition("?")[0]
        if "@" in before_query or _PASSWORD_STARTS.match(address):
            end = (before_query if "@" in before_query else address).rfind("@")
            user, address = address[: max(end, 0)], address[end + 1 :]
    start = re.search(r"[?#]", address)
    end = start.start() if start else len(address)
    return scheme + separator, user, address[:end], address[end:]


def _shown(setting: str) -> str:
    """One setting of a query, such as `?password=x`, with its value hidden unless harmless."""
    start = setting[:1] if setting[:1] in ("?", "#") else ""
    text = setting[len(start) :]
    key, _, value = text.partition("=")
    is_harmless = unquote(key).lower() in HARMLESS_KEYS and not re.search("[?#]", value)
    if is_harmless or text in ("", "&", ";"):
        return setting
    # Without a value, the whole setting may be a token, such as the Base64 text «c2VjcmV0=».
    return f"{start}{key}={HIDDEN}" if value.strip("=") else f"{start}{HIDDEN}"


def _forms(uri: str) -> set[str]:
    """The secrets of a URI, their parts, and the percent-decoded and percent-encoded forms."""
    _, user, _, query = _parts(uri)
    name, _, password = user.partition(":")
    secrets = {password if name and password else name or password}
    for setting in re.split("[&;]", query):
        if HIDDEN in _shown(setting):
            bare = setting.lstrip("?#")
            secrets.add(bare.partition("=")[2].strip("=") or bare)
    decoded = {form(secret) for secret in secrets for form in (str, unquote, unquote_plus)}
    parts = {
        part for secret in decoded for part in re.split(r"[@:/?#&;=]", secret) if len(part) > 2
    }
    forms = {form for text in decoded | parts for form in (text, quote(text), quote(text, safe=""))}
    return forms - {"", HIDDEN, quote(HIDDEN)}
