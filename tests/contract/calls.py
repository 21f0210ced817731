"""The 109 calls whose answers are recorded, in an order in which each finds what the ones before it made.

They change the server and seal it in the end: for a throw-away dev server alone.
"""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

GRANT, TICKET, BIG = "secret/data/t/grant", "secret/data/t/token", "secret/data/t/big"
TICKET_METADATA = "secret/metadata/t/token"
LOGIN = "auth/approle/login"
LOOKUP, CAPABILITIES, RENEW = "auth/token/lookup-self", "sys/capabilities-self", "auth/token/renew-self"
MOUNTS = "sys/internal/ui/mounts"
UNWRAP = "sys/wrapping/unwrap"
WRAP = {"X-Vault-Wrap-TTL": "60s"}
READER = f'path "{TICKET}" {{ capabilities = ["read"] }}'
NO_HCL = "path {"
DOUBLED = 'path "secret/x" { capabilities = ["read"]\n capabilities = ["list"] }'
MIB = 1024 * 1024
# Longer than any test server needs; each wait is for an answer, not for a time.
PATIENCE = 15.0

Body = Mapping[str, Any] | bytes | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    body: bytes


class Ask(Protocol):
    """Sends one call as root, or with another token ("" for none), and keeps the answer where it has a name."""

    def __call__(
        self,
        name: str,
        method: str,
        path: str,
        body: Body = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply: ...


def make(ask: Ask) -> None:
    """All of them. A call without a name only prepares."""
    steps = (_looks, _mounts, _writes, _ticket, _policies, _tokens, _wrong_tokens, _approle, _wrapping, _paths, _limits)
    for step in steps:
        step(ask)
    _sealed(ask)


def _looks(ask: Ask) -> None:
    ask("health", "GET", "sys/health", token="")
    ask("seal status", "GET", "sys/seal-status", token="")
    ask("leader", "GET", "sys/leader", token="")
    ask("no such path in sys", "GET", "sys/nonsense")
    ask("no such mount", "GET", "nowhere/data/x")
    ask("audit enable by API", "PUT", "sys/audit/f", {"type": "file", "options": {"file_path": "discard"}})
    ask("namespace create", "POST", "sys/namespaces/team", {})
    ask("kv2 config", "GET", "secret/config")


def _mounts(ask: Ask) -> None:
    kv2 = {"type": "kv", "options": {"version": "2"}}
    ask("", "POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
    ask("kv1 write", "POST", "kv1/x", {"access_token": "x", "ttl": "30s"})
    ask("kv1 read", "GET", "kv1/x")
    ask("kv1 read, never written", "GET", "kv1/none")
    ask("mount enable", "POST", "sys/mounts/kv3", kv2)
    ask("mount enable again", "POST", "sys/mounts/kv3", kv2)
    _until(ask, "kv2 just enabled, read", "GET", "kv3/data/x", status=404)
    ask("", "POST", "sys/mounts/cas", kv2)
    _until(ask, "", "POST", "cas/config", {"cas_required": True}, status=204)
    ask("kv2 write without cas where it is required", "POST", "cas/data/x", {"data": {"a": "1"}})


def _writes(ask: Ask) -> None:
    def write(name: str, cas: int) -> None:
        ask(name, "POST", GRANT, {"data": {"a": "1"}, "options": {"cas": cas}})

    ask("kv2 read, never written", "GET", "secret/data/t/none")
    write("kv2 write, cas 0", 0)
    write("kv2 write, cas 0 again", 0)
    ask("kv2 read", "GET", GRANT)
    ask("kv2 write, no data", "POST", GRANT, {})
    ask("kv2 write, data of another shape", "POST", GRANT, {"data": "text"})
    ask("kv2 write, not JSON", "POST", GRANT, b'{"data": nope')
    ask("kv2 delete", "DELETE", GRANT)
    ask("kv2 read, deleted", "GET", GRANT)
    write("kv2 write after delete, cas 0", 0)
    write("kv2 write after delete, cas 1", 1)
    ask("kv2 destroy", "PUT", "secret/destroy/t/grant", {"versions": [2]})
    ask("kv2 read, destroyed", "GET", GRANT)
    ask("path with a space", "POST", "secret/data/t/a%20b", {"data": {"a": "1"}})


def _ticket(ask: Ask) -> None:
    """The leased path: a version that ends by itself, then one that stays."""

    def metadata(name: str, method: str = "POST", **fields: Any) -> None:
        headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        ask(name, method, TICKET_METADATA, fields, headers=headers)

    metadata("kv2 metadata write", delete_version_after="2s", max_versions=2)
    metadata("kv2 metadata patch", "PATCH", custom_metadata={"k": "v"})
    metadata("kv2 metadata, unknown field", delete_version_after="2s", nonsense=1)
    ask("kv2 metadata read", "GET", TICKET_METADATA)
    ask("kv2 write that expires", "POST", TICKET, {"data": {"access_token": "x"}})
    ask("kv2 read before it expires", "GET", TICKET)
    _until(ask, "kv2 read after it expired", "GET", TICKET, status=404)
    metadata("kv2 metadata, duration of a fraction", delete_version_after="1.5s")
    metadata("kv2 metadata, whole again", delete_version_after="0s")
    ask("", "POST", TICKET, {"data": {"access_token": "x"}})


def _policies(ask: Ask) -> None:
    acl = "sys/policies/acl"
    ask("policy write", "PUT", f"{acl}/reader", {"policy": READER})
    ask("policy read", "GET", f"{acl}/reader")
    ask("policy that is no HCL", "PUT", f"{acl}/bad", {"policy": NO_HCL})
    ask("policy with a doubled attribute", "PUT", f"{acl}/double", {"policy": DOUBLED})


def _tokens(ask: Ask) -> None:
    """A reader's, as long as it is good for something."""
    reader = _token(ask, "token create", ttl="1h")
    ask("lookup-self", "GET", LOOKUP, token=reader)
    ask("renew-self", "POST", RENEW, {}, token=reader)
    ask("renew-self of root", "POST", RENEW, {})
    ask("capabilities", "POST", CAPABILITIES, {"paths": ["secret/data/t/x"]})
    ask("capabilities, of a reader", "POST", CAPABILITIES, {"paths": [TICKET, GRANT]}, token=reader)
    ask("denied by policy", "GET", GRANT, token=reader)
    ask("denied by policy, write", "POST", GRANT, {"data": {}}, token=reader)
    ask("denied by policy, metadata", "POST", TICKET_METADATA, {"max_versions": 3}, token=reader)
    ask("denied by policy, sys", "GET", "sys/auth", token=reader)
    ask("mount of a path", "GET", f"{MOUNTS}/secret/t/x")
    ask("mount of a path, none there", "GET", f"{MOUNTS}/nowhere/t/x")
    ask("mount of a path, of a reader", "GET", f"{MOUNTS}/secret/t/token", token=reader)
    ask("mount of a path, of a reader, elsewhere", "GET", f"{MOUNTS}/kv1/x", token=reader)
    once = _token(ask, num_uses=1)
    ask("token for one use, first", "GET", TICKET, token=once)
    ask("token for one use, second", "GET", TICKET, token=once)
    # The servers ignore this field here: networks belong to roles.
    elsewhere = _token(ask, bound_cidrs=["10.99.0.0/16"])
    ask("token bound to another network", "GET", TICKET, token=elsewhere)
    _until(ask, "expired token", "GET", TICKET, status=403, token=_token(ask, ttl="1s"))
    _until(ask, "expired batch token", "GET", TICKET, status=403, token=_token(ask, ttl="1s", type="batch"))
    ask("revoke-self", "POST", "auth/token/revoke-self", {}, token=reader)
    ask("revoked token", "GET", TICKET, token=reader)
    ask("lookup-self, revoked", "GET", LOOKUP, token=reader)


def _wrong_tokens(ask: Ask) -> None:
    wrong = f"hvs.{'a' * 24}"
    ask("no token", "GET", GRANT, token="")
    ask("no token, lookup-self", "GET", LOOKUP, token="")
    ask("wrong token", "GET", GRANT, token=wrong)
    ask("wrong token, write", "POST", GRANT, {"data": {}}, token=wrong)
    ask("wrong token, old form", "GET", GRANT, token=f"s.{'a' * 24}")
    ask("wrong token, not a token at all", "GET", GRANT, token="nonsense")
    ask("wrong token, lookup-self", "GET", LOOKUP, token=wrong)
    ask("wrong token, renew-self", "POST", RENEW, {}, token=wrong)
    ask("wrong token, capabilities", "POST", CAPABILITIES, {"paths": [TICKET]}, token=wrong)
    ask("wrong token, mount of a path", "GET", f"{MOUNTS}/secret/t/x", token=wrong)


def _approle(ask: Ask) -> None:
    ask("auth enable", "POST", "sys/auth/approle", {"type": "approle"})
    ask("auth enable again", "POST", "sys/auth/approle", {"type": "approle"})
    how = {"token_policies": ["reader"], "token_ttl": "20m", "secret_id_num_uses": 2}
    ask("approle role", "POST", "auth/approle/role/h", how)
    role_id = _json(ask("role id", "GET", "auth/approle/role/h/role-id"))["data"]["role_id"]
    secret_id = _json(ask("secret id", "POST", "auth/approle/role/h/secret-id", {}))["data"]["secret_id"]
    right, other = {"role_id": role_id, "secret_id": secret_id}, str(uuid.uuid4())
    ask("approle login", "POST", LOGIN, right, token="")
    ask("", "POST", LOGIN, right, token="")
    ask("approle login, secret id used up", "POST", LOGIN, right, token="")
    ask("approle login, nothing", "POST", LOGIN, {}, token="")
    ask("approle login, wrong role id", "POST", LOGIN, right | {"role_id": other}, token="")
    ask("approle login, wrong secret id", "POST", LOGIN, right | {"secret_id": other}, token="")
    ask("login at no such mount", "POST", "auth/nowhere/login", right, token="")
    ask("unauthenticated jwt login, no such role", "POST", "auth/jwt/login", {"role": "none", "jwt": "a.b.c"}, token="")


def _wrapping(ask: Ask) -> None:
    def wrapped(reply: Reply) -> str:
        return str(_json(reply)["wrap_info"]["token"])

    secret_id = wrapped(ask("secret id, wrapped", "POST", "auth/approle/role/h/secret-id", {}, headers=WRAP))
    read = wrapped(ask("read, wrapped", "GET", TICKET, headers=WRAP))
    ask("lookup of a wrapping token", "POST", "sys/wrapping/lookup", {"token": read}, token="")
    ask("unwrap", "POST", UNWRAP, {}, token=secret_id)
    ask("unwrap again", "POST", UNWRAP, {}, token=secret_id)
    ask("unwrap with nonsense as login", "POST", UNWRAP, {}, token="nonsense")
    ask("unwrap, no wrapping token", "POST", UNWRAP, {"token": f"hvs.{'b' * 24}"})
    ask("read of nothing, wrapped", "GET", "secret/data/t/none", headers=WRAP)


def _paths(ask: Ask) -> None:
    ask("namespace header, no such namespace", "GET", TICKET, headers={"X-Vault-Namespace": "nowhere"})
    ask("read by index", "GET", TICKET, headers={"X-Vault-Index": "nonsense"})
    ask("path of another case", "GET", "secret/data/T/token")
    ask("path with a doubled slash", "GET", "secret/data//t/token")
    ask("path with dots", "GET", "secret/data/t/../token")
    ask("path with a trailing slash", "GET", f"{TICKET}/")


def _limits(ask: Ask) -> None:
    deep = b'{"data":' + b'{"a":' * 600 + b"1" + b"}" * 601
    ask("kv2 write, nested deep", "POST", "secret/data/t/deep", deep)
    ask("kv2 write, 1.2 MiB", "POST", BIG, {"data": {"a": "x" * (12 * MIB // 10)}})
    ask("kv2 write, 40 MiB", "POST", BIG, {"data": {"a": "x" * (40 * MIB)}})
    ask("quota", "POST", "sys/quotas/rate-limit/q", {"path": TICKET, "rate": 1, "interval": "1h"})
    ask("", "GET", TICKET)
    ask("over the rate limit", "GET", TICKET)
    ask("", "DELETE", "sys/quotas/rate-limit/q")


def _sealed(ask: Ask) -> None:
    ask("seal", "PUT", "sys/seal", {})
    ask("sealed: health", "GET", "sys/health", token="")
    ask("sealed: read", "GET", TICKET)
    ask("sealed: login", "POST", LOGIN, {}, token="")


def _token(ask: Ask, name: str = "", **how: Any) -> str:
    reply = ask(name, "POST", "auth/token/create", {"policies": ["reader"], **how})
    return str(_json(reply)["auth"]["client_token"])


def _until(
    ask: Ask, name: str, method: str, path: str, body: Body = None, *, status: int, token: str | None = None
) -> None:
    """Asks until the answer has this status; the last one counts, whatever it is."""
    deadline = time.monotonic() + PATIENCE
    while ask(name, method, path, body, token=token).status != status and time.monotonic() < deadline:
        time.sleep(0.1)


def _json(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body)
    return found
