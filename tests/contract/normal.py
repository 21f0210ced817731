"""Answers without what differs at each run: ids, times and tokens become «…», and what says nothing is left out.

Both the recorded answers and those that a test gets are compared in this shape alone.
"""

import json
import re
from typing import Any

# Left out wherever they stand: they name one run, one machine or one build, or are the clock in seconds.
DROPPED = {
    *("request_id", "lease_id", "accessor", "mount_accessor", "entity_id", "uuid", "auth_accessor", "running_version"),
    *("cluster_id", "cluster_name", "build_date", "server_time_utc", "plugin_version", "running_plugin_version"),
    *("creation_time", "issue_time", "ttl", "mount_type", "running_sha256", "running_plugin_sha256"),
}
TOKENS = {"client_token", "id", "token"}  # any other value there is an id of one run's
VARYING = {"wrapped_accessor"}

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"(hv)?[sb]\.[\w.-]{20,}")
_NEVER = "0001-01-01T00:00:00Z"  # Go's zero: the same at each run


def answer(status: int, location: str | None, body: bytes) -> dict[str, Any]:
    """One answer as the file has it: status, the header `location` of a redirect, and the body."""
    found: dict[str, Any] = {"status": status}
    if location:
        found["headers"] = {"location": location}
    try:
        found["body"] = tidy(json.loads(body)) if body.strip() else None
    except ValueError:
        found["body"] = body.decode()
    return found


def tidy(value: Any) -> Any:
    """A body, or a part of one, in that shape."""
    if isinstance(value, dict):
        named = {name: _named(name, tidy(one)) for name, one in value.items() if name not in DROPPED}
        return {name: one for name, one in sorted(named.items()) if one is not None and one not in ("", [])}
    if isinstance(value, list):
        return [tidy(one) for one in value]
    if isinstance(value, str) and value != _NEVER and _TIME.fullmatch(value):
        return "«time»"
    if isinstance(value, str) and _UUID.fullmatch(value):
        return "«uuid»"
    return value


def _named(name: str, value: Any) -> Any:
    if name in TOKENS and isinstance(value, str):
        return "«token»" if _TOKEN.fullmatch(value) else "«…»"
    return "«…»" if name in VARYING and value else value
