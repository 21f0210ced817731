"""Vault's HTTP API as a pure function of its state and a request: KV v1 and v2, logins, and what else we call.

Held beside a real server by tests/contract/test_store.py, and by the recorded answers. `State` never changes: a standby
that lags is an older one, a restart or a failover goes on with the newest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from vault_ticket_plugin.durations import parse_duration

ROOT = "root-token"
ROLE = "role-1"
MISMATCH = "check-and-set parameter did not match the current version"


class Request(NamedTuple):
    """One call, as it arrives."""

    method: str
    path: str
    """Below /v1/."""
    body: Any = None
    token: str = ""


class Reply(NamedTuple):
    """What goes back; without a body where `body` is None."""

    status: int
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}


class Version(NamedTuple):
    """One version of a KV v2 document; the only one of a KV v1 document."""

    data: Mapping[str, Any] | None
    """None once it is destroyed."""
    created_at: float
    deletes_at: float | None = None


class Key(NamedTuple):
    """A document with its versions, oldest first; `dropped` of them are no more."""

    versions: tuple[Version, ...] = ()
    dropped: int = 0
    delete_after: float = 0.0
    max_versions: int = 10
    custom: Mapping[str, str] | None = None
    """custom_metadata."""

    @property
    def current(self) -> int:
        return self.dropped + len(self.versions)


class State(NamedTuple):
    """All that a server knows. `writes` counts them, as X-Vault-Index does."""

    mounts: Mapping[str, int]
    """KV mounts with their versions."""
    keys: Mapping[str, Key] = {}
    tokens: frozenset[str] = frozenset({ROOT})
    writes: int = 0
    logins: int = 0
    secret_id: str = "secret-1"


Outcome = tuple[State, Reply]


def answer(state: State, request: Request, now: float) -> Outcome:
    """What the server makes of it, and its answer. `now`: by the server's clock."""
    if request.path == "auth/approle/login":
        return _log_in(state, request)
    if request.token not in state.tokens:
        return state, _errors(403, "permission denied")

    match request.path.split("/", 3):
        case ["auth", "token", "revoke-self"]:
            return state._replace(tokens=state.tokens - {request.token}, writes=state.writes + 1), Reply(204)
        case ["auth", "token", "lookup-self"]:
            ttl = 0 if request.token == ROOT else 1200
            return state, _data({"ttl": ttl, "creation_ttl": ttl, "renewable": False})
        case ["sys", "capabilities-self"]:
            found = {path: ["root"] for path in request.body["paths"]}
            return state, Reply(200, {**found, "data": found})
        case ["sys", "internal", "ui", rest]:
            return state, _mount(state, rest.removeprefix("mounts/"))

    mount, _, rest = request.path.partition("/")
    version = state.mounts.get(mount)
    if version == 1:
        return _version_1(state, request, now)
    if version == 2:
        part, _, path = rest.partition("/")
        return _version_2(state, request, part, f"{mount}/{path}", now)
    return state, _errors(404, f'no handler for route "{request.path}". route entry not found.')


def document(state: State, path: str) -> Mapping[str, Any] | None:
    """The newest data at `mount/path`, deleted or not; None if it was never written, or destroyed."""
    key = state.keys.get(path)
    return key.versions[-1].data if key is not None and key.versions else None


def alive(version: Version, now: float) -> bool:
    return version.data is not None and (version.deletes_at is None or now < version.deletes_at)


# -- logins and mounts


def _log_in(state: State, request: Request) -> Outcome:
    body = request.body or {}
    if not body.get("role_id"):
        return state, _errors(500, "missing role_id")
    if body["role_id"] != ROLE or body.get("secret_id") != state.secret_id:
        return state, _errors(400, "invalid role or secret ID")
    token = f"hvs.login-{state.logins + 1:020d}"
    auth = {"client_token": token, "lease_duration": 1200, "renewable": True, "token_type": "service"}
    state = state._replace(tokens=state.tokens | {token}, logins=state.logins + 1, writes=state.writes + 1)
    return state, Reply(200, {"auth": auth, "lease_duration": 0, "renewable": False})


def _mount(state: State, path: str) -> Reply:
    mount = path.partition("/")[0]
    version = state.mounts.get(mount)
    if version is None:
        why = "preflight capability check returned 403, please ensure client's policies grant access to path"
        return _errors(403, f'{why} "{path}/"')
    return _data({"type": "kv", "path": f"{mount}/", "options": {"version": str(version)}})


# -- KV


def _version_1(state: State, request: Request, now: float) -> Outcome:
    key = state.keys.get(request.path)
    if request.method == "GET":
        if key is None:
            return state, _errors(404)
        return state, Reply(200, {"data": key.versions[-1].data, "lease_duration": 2764800, "renewable": False})
    if request.method == "DELETE":
        return _without(state, request.path), Reply(204)
    if not request.body:
        return state, _errors(400, "missing data fields")
    return _with(state, request.path, Key((Version(_copy(request.body), now),))), Reply(204)


def _version_2(state: State, request: Request, part: str, path: str, now: float) -> Outcome:
    key = state.keys.get(path, Key())
    match part, request.method:
        case "data", "GET":
            return state, _read(key, now)
        case "data", "POST" | "PUT":
            return _write(state, path, key, request.body or {}, now)
        case "data", "PATCH":
            return _patch(state, path, key, request.body or {}, now)
        case "data", "DELETE":
            return _delete(state, path, key, now)
        case "metadata", "GET":
            if path not in state.keys:
                return state, _errors(404)
            return state, _data(_metadata(key))
        case "metadata", "POST" | "PUT":
            return _set_up(state, path, key, request.body or {})
        case "metadata", "PATCH":
            if path not in state.keys:
                return state, _errors(404)
            body = dict(request.body or {})
            if "custom_metadata" in body:
                merged = {**(key.custom or {}), **body["custom_metadata"]}
                body["custom_metadata"] = {name: value for name, value in merged.items() if value is not None}
            return _set_up(state, path, key, body)
        case "metadata", "DELETE":
            return _without(state, path), Reply(204)
        case "destroy", "POST" | "PUT":
            return _destroy(state, path, key, request.body or {})
    return state, _errors(405, "unsupported operation")


def _read(key: Key, now: float) -> Reply:
    if not key.current:
        return _errors(404)
    newest = key.versions[-1]
    found = {"data": newest.data, "metadata": _version_metadata(newest, key)}
    if alive(newest, now):
        return _data(found)
    return Reply(404, {"data": {**found, "data": None}})


def _write(state: State, path: str, key: Key, body: Mapping[str, Any], now: float) -> Outcome:
    if not isinstance(body.get("data"), dict):
        return state, _errors(400, "no data provided" if "data" not in body else "data must be a map")
    cas = (body.get("options") or {}).get("cas")
    if cas is not None and cas != key.current:
        return state, _errors(400, MISMATCH)
    ends = now + key.delete_after if key.delete_after else None
    made = Version(_copy(body["data"]), now, ends)
    versions = (*key.versions, made)[-key.max_versions :]
    written = key._replace(versions=versions, dropped=key.current + 1 - len(versions))
    return _with(state, path, written), _data(_version_metadata(made, written))


def _patch(state: State, path: str, key: Key, body: Mapping[str, Any], now: float) -> Outcome:
    """RFC 7396, one level deep: our own notes are replaced or kept as a whole."""
    if not key.current or not alive(key.versions[-1], now):
        return state, _errors(404)
    merged = {**(key.versions[-1].data or {}), **(body.get("data") or {})}
    data = {name: value for name, value in merged.items() if value is not None}
    return _write(state, path, key, {**body, "data": data}, now)


def _delete(state: State, path: str, key: Key, now: float) -> Outcome:
    if key.versions:
        key = key._replace(versions=(*key.versions[:-1], key.versions[-1]._replace(deletes_at=now)))
        state = _with(state, path, key)
    return state, Reply(204)


def _set_up(state: State, path: str, key: Key, body: Mapping[str, Any]) -> Outcome:
    after, most = body.get("delete_version_after"), body.get("max_versions")
    if after is not None:
        key = key._replace(delete_after=parse_duration(after))
    if most is not None:
        key = key._replace(max_versions=most or 10)
    if "custom_metadata" in body:
        key = key._replace(custom=body["custom_metadata"])
    return _with(state, path, key), Reply(204)


def _destroy(state: State, path: str, key: Key, body: Mapping[str, Any]) -> Outcome:
    numbers = {int(number) for number in body.get("versions", ())}
    versions = tuple(
        version._replace(data=None) if key.dropped + place + 1 in numbers else version
        for place, version in enumerate(key.versions)
    )
    return _with(state, path, key._replace(versions=versions)), Reply(204)


# -- words


def _with(state: State, path: str, key: Key) -> State:
    return state._replace(keys={**state.keys, path: key}, writes=state.writes + 1)


def _without(state: State, path: str) -> State:
    keys = {name: key for name, key in state.keys.items() if name != path}
    return state._replace(keys=keys, writes=state.writes + 1)


def _metadata(key: Key) -> dict[str, Any]:
    return {"current_version": key.current, "max_versions": key.max_versions, "custom_metadata": key.custom}


def _version_metadata(version: Version, key: Key) -> dict[str, Any]:
    ends = "" if version.deletes_at is None else _time(version.deletes_at)
    found = {"created_time": _time(version.created_at), "deletion_time": ends, "version": key.current}
    return {**found, "destroyed": version.data is None, "custom_metadata": key.custom}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(data))
    return copied


def _data(data: Mapping[str, Any]) -> Reply:
    return Reply(200, {"data": data})


def _errors(status: int, *errors: str) -> Reply:
    return Reply(status, {"errors": list(errors)})
