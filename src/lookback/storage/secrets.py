"""Hide the passwords and tokens in the tracking URI of MLflow.

A tracking URI can hold a secret in three places: `user:password@`, `token@`, and the value of a
key, as in `?password=…` or `;PWD=…`. The `@` may be missing by mistake. No file, no message and no
argument of a process may show the secret. The URI with the secret reaches a job only in the
environment variable MLFLOW_TRACKING_URI.
"""

import os
import re
import sys
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

VARIABLE = "MLFLOW_TRACKING_URI"
HIDDEN = "…"  # replaces a secret
# The keys whose values are shown. All other values may be secrets.
HARMLESS_KEYS = (
    *("application_name", "cache", "charset", "check_same_thread", "connect_timeout", "dbname"),
    *("driver", "host", "immutable", "isolation_level", "mode", "nolock", "port", "sslmode"),
    *("timeout", "uri", "user"),
)
ADDRESS_KEYS = ("host", "uri")  # the harmless keys whose values may be addresses
# The start of a URI. `file:` and `sqlite:` need no `//`.
_SCHEME = re.compile(r"\s*(?:[A-Za-z][\w+.-]*://|(?:file|sqlite):)")
# The hosts at the start of an address, each with or without a port number.
_HOST = r"(?:\[[\dA-Fa-f:.]*\]|[^:/?#;@,]*)(?::\d*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*(?:[/?#;]|$)")


def redacted(uri: str) -> str:
    """The tracking URI `uri` with each secret replaced by «…».

    If the URI can be read in two ways, the function hides more. A redacted URI stays unchanged.
    """
    scheme, user, rest, settings = _parts(uri)
    if user:
        name, _, password = user.removesuffix("@").partition(":")
        end = "@" if user.endswith("@") else ""
        user = f"{name}:{HIDDEN}{end}" if name and password else f"{HIDDEN}{end}"
    shown = [_shown(setting) for setting in re.split("([&;])", settings)]
    return scheme + user + rest + "".join(shown)


def has_secret(uri: str) -> bool:
    """Whether a tracking URI contains a secret, or the sign «…» in the place of a secret."""
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
    """The scheme, the user information with its `@`, the host with the path, and the settings.

    The settings start with `?`, `#` or `;`. The user information has no `@` if the URI lacks it by
    mistake; the user information then includes all that follows. The function does not use
    urlsplit, because SQLAlchemy also accepts a password that contains `/`, `?` or `#`.
    """
    start = _SCHEME.match(uri)
    scheme = start[0] if start else ""
    address = uri[len(scheme) :]
    user = ""
    if not (scheme.strip().startswith(("sqlite", "file")) and address.startswith(("/", "."))):
        before_query = address.partition("?")[0]
        if "@" in before_query:
            end = before_query.rfind("@") + 1
        elif _HOSTS.match(address) or ":" not in address:
            end = 0
        else:
            end = address.rfind("@") + 1 or len(address)
        user, address = address[:end], address[end:]
    found = re.search("[?#;]", address)
    end = found.start() if found else len(address)
    return scheme, user, address[:end], address[end:]


def _shown(setting: str) -> str:
    """One setting, such as `?password=x`, with its value hidden unless harmless."""
    start, key, value = _key_and_value(setting)
    text = setting[len(start) :]
    if text in ("", "&", ";"):
        return setting
    if key.lower() in HARMLESS_KEYS and not re.search("[?#]", value):
        decoded = unquote(value)
        if not re.search("[:@]", decoded):
            return setting
        if key.lower() in ADDRESS_KEYS:
            shown = redacted(decoded)
            if shown == decoded:
                return setting
            if value == decoded:
                return f"{start}{key}={shown}"
    # Without a value, the whole setting may be a token, such as the Base64 text «c2VjcmV0=».
    written = text.partition("=")[0]
    return f"{start}{written}={HIDDEN}" if value.strip("=") else f"{start}{HIDDEN}"


def _key_and_value(setting: str) -> tuple[str, str, str]:
    """The `?` or `#` before a setting, if there is one, the decoded key, and the value."""
    start = setting[:1] if setting[:1] in ("?", "#") else ""
    key, _, value = setting[len(start) :].partition("=")
    return start, unquote(key), value


def _secrets(uri: str) -> set[str]:
    """The secrets of a URI, as the URI writes them."""
    _, user, _, settings = _parts(uri)
    name, _, password = user.removesuffix("@").partition(":")
    secrets = {password if name and password else name or password}
    for setting in re.split("[&;]", settings):
        shown = _shown(setting)
        if HIDDEN in shown:
            start, key, value = _key_and_value(setting)
            if key.lower() in ADDRESS_KEYS and not re.search("[?#]", value):
                secrets |= _secrets(unquote(value))
            else:
                secrets.add(value.strip("=") or setting[len(start) :])
    return secrets


def _forms(uri: str) -> set[str]:
    """The secrets of a URI, their parts, and the percent-decoded and percent-encoded forms."""
    secrets = _secrets(uri)
    decoded = {form(secret) for secret in secrets for form in (str, unquote, unquote_plus)}
    parts = {
        part for secret in decoded for part in re.split(r"[@:/?#&;=]", secret) if len(part) > 2
    }
    forms = {form for text in decoded | parts for form in (text, quote(text), quote(text, safe=""))}
    return forms - {"", HIDDEN, quote(HIDDEN)}
