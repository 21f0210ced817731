"""What an answer of Vault's means: whether a call is tried again, whose fault it is, and what a person is told.

Statuses and texts decide, never a server's version: a server may keep that to itself. tests/contract has what several
servers answered, and holds each row to this table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vault_ticket_plugin.errors import ConfigError, StoredDataInvalid, VaultTicketError, VaultUnreachable
from vault_ticket_plugin.transport.exchange import MAX_ANSWER_BYTES, HttpResponse
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.messages import Invalid, Missing, Ok, VaultRequest, printable, words_of

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class BadToken(NamedTuple):
    """Vault does not know the token: wrong, expired, revoked or used up. Another login may bring a better one."""


class Denied(NamedTuple):
    """Vault knows the token, and its policies say no; or there was none."""


class Retry(NamedTuple):
    """A passing failure."""

    error: VaultUnreachable


class Wrong(NamedTuple):
    """A lasting one, that no second try mends."""

    error: VaultTicketError


Judgement = Ok | Missing | Invalid | BadToken | Denied | Retry | Wrong


class StatusRule(NamedTuple):
    """One row of the table; the first that fits counts."""

    statuses: tuple[int, ...]
    words: tuple[str, ...]
    """Any of these in Vault's own texts, in lower case; empty for whatever they are."""
    again: bool
    """Whether the call is tried again until the deadline."""
    fact: str
    """What is told of the server."""
    hint: str
    kind: type[VaultTicketError] = VaultUnreachable


LATER = "Try again."
RULES = (
    StatusRule((500, 503), ("sealed",), True, "is sealed", "Unseal it, then try again."),
    # What a server says while a KV v2 mount is being prepared.
    StatusRule(
        (400,),
        ("waiting for the primary to upgrade", "upgrading from non-versioned"),
        True,
        "is preparing the mount",
        LATER,
    ),
    # Vault since 1.16.25, 1.18.14, 1.19.9, 1.20.3 and 1.21.
    StatusRule(
        (500,),
        ("exceeds allowed", "malformed json"),
        False,
        "does not take a document of this size or shape",
        "Make what stands in the document beside our own keys smaller.",
        StoredDataInvalid,
    ),
    StatusRule(
        (413,),
        (),
        False,
        "does not take a request of this size",
        "Make what stands in the document beside our own keys smaller.",
        StoredDataInvalid,
    ),
    StatusRule(
        (500,),
        ("missing role_id", "failed to determine alias name"),
        False,
        "got a login without a role id",
        "Set role_id in [vault] auth.",
        ConfigError,
    ),
    # OpenBao, for a path that ends in a slash.
    StatusRule(
        (500,),
        ("could not find version data",),
        False,
        "has no document of that path",
        "Correct `path` in the profile.",
        ConfigError,
    ),
    StatusRule((412,), (), True, "has not caught up with our last write", LATER),
    StatusRule(
        (429,),
        ("rate limit",),
        True,
        "limits how often it may be asked",
        "Try again; if it goes on, ask whoever runs it for a larger rate limit quota.",
    ),
    StatusRule(
        (429,),
        ("lease count",),
        True,
        "has as many leases as its quota allows",
        "Try again; a role with token_type = batch leaves none behind.",
    ),
    StatusRule((429,), (), True, "is a standby that can't answer now, or has too much to do", LATER),
    StatusRule(
        (431,),
        (),
        False,
        "does not take a token as long as ours",
        "Most likely a JWT or a whole file was put where a Vault token belongs: check VAULT_TOKEN, BAO_TOKEN and "
        "token_file.",
        ConfigError,
    ),
    StatusRule(
        (472,),
        (),
        True,
        "is a disaster recovery secondary, which takes no requests",
        "Set the address to the primary, or to the cluster's own.",
    ),
    StatusRule((473,), (), True, "is a performance standby that can't answer now", LATER),
    StatusRule((474,), (), True, "is a standby that does not reach its active node", LATER),
    StatusRule((501,), (), True, "is not initialised", "`vault operator init`."),
    StatusRule(
        (530,),
        (),
        True,
        "has been removed from its cluster",
        "Set the address to a node of the cluster, or to the cluster's own.",
    ),
    # No leader, or a load balancer without a server behind it.
    StatusRule((500, 502, 503, 504), (), True, "can't answer now", LATER),
)


def judge(response: HttpResponse, request: VaultRequest, shown: str) -> Judgement:
    """Pure. `shown`: the server's address, as people are told it."""
    status = response.status
    if status in REDIRECTS:
        return Retry(_redirected(response, shown))
    if len(response.body) > MAX_ANSWER_BYTES:
        return Wrong(
            StoredDataInvalid(
                f"the answer of Vault at {shown} to {request} is larger than 1 MiB",
                "Make what stands in the document beside our own keys smaller.",
            )
        )
    body = _json_object(response)

    rule = _rule(status, words_of(body or {}).lower())
    if rule is not None:
        said = words_of(body or {}) or "no reason given"
        error = rule.kind(f"Vault at {shown} {rule.fact} (status {status}: {said})", rule.hint)
        error.retry_after = _retry_after(response)
        return Retry(error) if rule.again and isinstance(error, VaultUnreachable) else Wrong(error)

    if body is None:
        return Wrong(
            ConfigError(
                f"what answers at {shown} is not Vault (status {status}, no JSON object)",
                "Check VAULT_ADDR or `address` under [vault].",
            )
        )
    cached = response.headers.get("x-cache", "").strip().upper() == "HIT"
    if status in (200, 204):
        return Ok(body, cached)
    if status == 404:
        return Missing(body, cached)
    if status == 400:
        return Invalid(body)
    if status == 403:
        return BadToken() if _is_bad_token(body, request) else Denied()
    if status == 405:
        return Wrong(ConfigError(f"Vault does not know {request}", "Check `mount` and `kv_version` in the profile."))
    return Wrong(
        StoredDataInvalid(
            f"Vault refuses {request} (status {status}: {words_of(body)})", "Vault's own log may say more."
        )
    )


def _rule(status: int, said: str) -> StatusRule | None:
    for rule in RULES:
        if status in rule.statuses and (not rule.words or any(words in said for words in rule.words)):
            return rule
    return None


def _is_bad_token(body: Mapping[str, Any], request: VaultRequest) -> bool:
    """A 403 for the token itself.

    Vault since 1.17 says so in so many words, among others. OpenBao and older ones say `permission denied` and nothing
    else; a policy's no has `1 error occurred` around it. At a login, where there is no token yet, those two words mean
    something else.
    """
    said = body.get("errors")
    texts = [str(one).lower() for one in said] if isinstance(said, list) else []
    if any(words in text for text in texts for words in ("invalid token", "bad token")):
        return True
    return not request.anonymous and not paths.is_login(request.path) and texts[:1] == ["permission denied"]


def _json_object(response: HttpResponse) -> dict[str, Any] | None:
    """An empty answer is Vault's only with 200 and 204; its own 404 has `{"errors": []}`."""
    try:
        body = json.loads(response.body) if response.body or response.status not in (200, 204) else {}
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _redirected(response: HttpResponse, shown: str) -> VaultUnreachable:
    """A redirect is not followed: our token does not go to another host unasked."""
    other = printable(urlsplit(response.headers.get("location", "")).netloc.rpartition("@")[2])
    return VaultUnreachable(
        f"Vault at {shown} sends us to {other or 'another address'}, where our token does not go unasked",
        "A standby without forwarding: set the address to the active node or to the cluster's own.",
    )


def _retry_after(response: HttpResponse) -> float | None:
    """RFC 9110 section 10.2.3; Vault's own is a number of seconds."""
    text = response.headers.get("retry-after", "").strip()
    return float(text[:9]) if text.isascii() and text.isdigit() else None
