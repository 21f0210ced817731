"""[profiles.NAME]: which grant is spent where, where the ticket is published, and who may have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.model import SOFT_DEFAULT, Location, Windows
from vault_ticket_plugin.settings.hosts import PORTS, host_name, is_loopback, url_parts
from vault_ticket_plugin.settings.table import Table, text_value, vault_path

Lease = Literal["delete", "field"]
LEASES: tuple[Lease, ...] = get_args(Lease)

DEFAULT_TOKEN_URL = "https://api.socialboards.com/token"  # noqa: S105 - where tokens are had, not a token
# All tries of one spend together. Ten times what a healthy token endpoint takes, and short enough for two
# holders in a row to be done within the default timeout of a call.
DEFAULT_REQUEST_TIMEOUT = 8.0
# A claim lasts 5 min at most for others (refresh/watch.py), and must outlast what is done under it.
MAX_REQUEST_TIMEOUT = 240.0
# What a claim lasts beyond the request: its own write, before that, and reading and saving the answer.
CLAIM_MARGIN = 7.0
# How long after a spend of unknown outcome the same refresh token is tried again while a usable ticket is at hand.
# Servers with a grace usually allow a minute or less.
DEFAULT_REUSE_GRACE = 30.0
# Where an answer has neither `expires_in` nor a JWT: what the Ticket API's tokens live.
DEFAULT_LIFETIME = 3600.0


class Allow(NamedTuple):
    """Whom the daemon's unix socket gives a ticket beside itself and root: numbers of users and groups."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


NOBODY_ELSE = Allow()


class GrantAddress(NamedTuple):
    """Where a grant is kept, as a journal's entry has it."""

    key: str
    """Names the server as it is written, the namespace and the path."""
    document: str
    """Names the namespace, the mount and the path, which stay the same however the server's address is written."""
    server: str
    """Its address, as a person reads it."""


class Profile(NamedTuple):
    """A named credential. Spans are seconds."""

    name: str
    grant: Location
    ticket: Location
    client_id: str | None = None
    token_url: str = DEFAULT_TOKEN_URL
    revocation_url: str | None = None
    ca_cert: str | None = None
    """The token endpoint's CA; without one the system's own are used."""
    lease: Lease = "delete"
    """delete: Vault deletes a version as its ticket ends; field: only `expires_at` says so."""
    windows: Windows = Windows()
    default_lifetime: float = DEFAULT_LIFETIME
    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    reuse_grace: float = DEFAULT_REUSE_GRACE
    hosts: tuple[str, ...] = ()
    """Who may get the ticket from a program that names the host it talks to (`host_name`); no other does."""
    allow: Allow = NOBODY_ELSE

    @property
    def claim_seconds(self) -> float:
        """How long a claim of ours lasts."""
        return self.request_timeout + CLAIM_MARGIN

    def serves(self, host: str, scheme: str = "https") -> bool:
        """Whether the ticket may go to HOST or HOST:PORT: it is one of `hosts`, and nobody can listen on the way."""
        name = host_name(host, PORTS.get(scheme))
        secure = scheme == "https" or (scheme == "http" and is_loopback(urlsplit(f"//{name}").hostname or ""))
        return bool(name) and secure and name in self.hosts

    @classmethod
    def standard(cls, name: str) -> Profile:
        """A profile that nobody configured: the default paths."""
        return cls(name, grant_location(name), ticket_location(name))


def grant_location(name: str) -> Location:
    return Location("secret", f"ticket/{name}/grant")


def ticket_location(name: str) -> Location:
    return Location("secret", f"ticket/{name}/token")


def read(name: str, table: Table) -> Profile:
    windows = Windows(table.optional_duration("soft_window"), table.optional_duration("hard_window"))
    profile = Profile(
        name=name,
        grant=_location(table.table("grant"), grant_location(name)),
        ticket=_location(table.table("ticket"), ticket_location(name)),
        client_id=table.text("client_id"),
        token_url=_url(table, "token_url", DEFAULT_TOKEN_URL) or DEFAULT_TOKEN_URL,
        revocation_url=_url(table, "revocation_url", None),
        ca_cert=table.path("ca_cert"),
        lease=table.choice("lease", LEASES[0], LEASES),
        windows=windows,
        default_lifetime=table.duration("default_lifetime", DEFAULT_LIFETIME, least=1.0),
        request_timeout=table.duration("request_timeout", DEFAULT_REQUEST_TIMEOUT, 0.1, MAX_REQUEST_TIMEOUT),
        reuse_grace=table.duration("reuse_grace", DEFAULT_REUSE_GRACE),
        hosts=table.get("hosts", (), "", _hosts),
        allow=_allow(table.table("allow")),
    )

    table.pass_over("claim_time")
    table.reject_unknown_keys()
    _check(profile, table)
    return profile


def _check(profile: Profile, table: Table) -> None:
    """The rules between keys."""
    if profile.grant.kv_version == 1:
        raise table.error("grant.kv_version", "2: spending a grant safely needs the check-and-set of KV v2")
    if (profile.grant.mount, profile.grant.path) == (profile.ticket.mount, profile.ticket.path):
        raise table.error("ticket", "another location than the grant's: whoever may read a ticket may not read it")
    soft, hard = profile.windows.soft or SOFT_DEFAULT, profile.windows.hard
    if hard is not None and hard >= soft:
        raise table.error("hard_window", f"less than soft_window ({show_duration(soft)})")


def _location(table: Table, default: Location) -> Location:
    location = Location(
        mount=table.get("mount", default.mount, "", vault_path),
        path=table.get("path", default.path, "", vault_path),
        kv_version=table.choice("kv_version", default.kv_version, (1, 2)),
    )
    table.reject_unknown_keys()
    return location


def _url(table: Table, name: str, default: str | None) -> str | None:
    def check(value: object) -> str:
        text = text_value(value)
        parts = url_parts(text)
        loopback = parts is not None and is_loopback(parts.hostname or "")
        if parts is None or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
            raise ValueError("an https:// URL (http:// only for a loopback address), without user name or fragment")
        return text

    return table.get(name, default, "", check)


def _hosts(value: object) -> tuple[str, ...]:
    found = [host_name(one) if isinstance(one, str) else "" for one in value] if isinstance(value, list) else [""]
    if not all(found):
        raise ValueError('a list of "HOST" or "HOST:PORT", like ["git.example.org"]')
    return tuple(found)


def _allow(table: Table) -> Allow:
    found = Allow(
        users=table.get("users", frozenset(), "", _numbers(_user)),
        groups=table.get("groups", frozenset(), "", _numbers(_group)),
    )
    table.reject_unknown_keys()
    return found


def _numbers(number_of: Callable[[str], int]) -> Callable[[Any], frozenset[int]]:
    def check(value: object) -> frozenset[int]:
        if not isinstance(value, list):
            raise ValueError("a list of names or numbers")
        return frozenset(_number(one, number_of) for one in value)

    return check


def _number(value: object, number_of: Callable[[str], int]) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1:
        return value
    if isinstance(value, str):
        try:
            return number_of(value)
        except KeyError:
            raise ValueError(f"names that this host knows, and {value!r} is none") from None
    raise ValueError("a list of names or numbers")


def _user(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
