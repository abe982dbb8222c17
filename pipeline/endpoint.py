"""Where an endpoint is and the key to it: from the config, or from environment variables that it names. Pure but for those."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from pipeline.errors import PlanError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def address(base_url: str | None, base_url_env: str | None) -> str:
    """The base URL. Raises PlanError, which repeats nothing of it: it may hold a password."""
    if (base_url is None) == (base_url_env is None):
        raise PlanError("engine kind openai needs either base_url or base_url_env")
    url = base_url or os.environ.get(base_url_env or "", "")
    if base_url and "@" in base_url:
        raise PlanError("base_url holds a password, which the run would store; use base_url_env or api_key_env")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or an address of IPv6 that does not end
        good = False
    if not good:
        where = f"environment variable {base_url_env}" if base_url_env else "base_url"
        raise PlanError(f"{where} holds no address such as https://host/v1")
    return url.rstrip("/")


def key(variable: str | None) -> str | None:
    """The API key, or None where none is configured. Raises PlanError when its variable is empty."""
    if variable is None:
        return None
    if not _VARIABLE.fullmatch(variable):  # it may be the key: nothing of it is repeated
        raise PlanError("api_key_env must be the name of an environment variable that holds the key")
    if not (found := os.environ.get(variable, "").strip()):
        raise PlanError(f"environment variable {variable} (api_key_env) is not set")
    return found
