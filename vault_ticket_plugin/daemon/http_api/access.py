"""Who may ask, and how often: on the unix socket whom the kernel names, on TCP who shows a Vault token that may."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.model import Location
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.judgement import BadToken, Denied
from vault_ticket_plugin.vault.messages import Missing, Ok, VaultRequest
from vault_ticket_plugin.vault.session import VaultSession

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# unix(7), socket(7): who connected, as the kernel saw it then. Python has no name for the second.
CREDENTIALS = struct.Struct("3i")
SO_PEERGROUPS = 59
# Python reads no longer answer of getsockopt: 256 groups.
MAX_ANSWER = 1024

# How long Vault's word on a token is taken for what holds now; a revoked token is of use for so long.
GRANTED_SECONDS, DENIED_SECONDS = 10.0, 2.0
CHECK_SECONDS = 5.0
# Callers and verdicts remembered; the one that was not seen for the longest goes first.
MAX_REMEMBERED = 1024


class Peer(NamedTuple):
    """The process at the other end of a unix socket."""

    pid: int
    uid: int
    groups: frozenset[int]
    who: str


class Caller(NamedTuple):
    """Whose token it is, for the account that is kept."""

    who: str


# Whether the token may read there, by Vault's word; None if it may not. VaultTicketError if Vault won't say.
Check = Callable[[Secret, Location, Deadline], Caller | None]


def peer_of(connection: socket.socket) -> Peer | None:
    """None if it is no unix socket."""
    if connection.family != socket.AF_UNIX:
        return None
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, gid = CREDENTIALS.unpack(found)
    uid, gid = uid & 0xFFFFFFFF, gid & 0xFFFFFFFF
    try:
        listed = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MAX_ANSWER)
    except OSError:
        listed = b""  # more groups than can be read, or a kernel before 4.13: then the first one counts alone
    groups = frozenset(struct.unpack(f"{len(listed) // 4}I", listed)) | {gid}
    return Peer(pid, uid, groups, f"uid {uid} (pid {pid})")


def owns(peer: Peer) -> bool:
    """Whether it is root or the daemon's own user, who may have everything anyway."""
    return peer.uid in (0, os.geteuid())


def may_have(peer: Peer, profile: Profile | None) -> bool:
    if owns(peer):
        return True
    return profile is not None and (peer.uid in profile.allow.users or not peer.groups.isdisjoint(profile.allow.groups))


def vault_authorizer(session: VaultSession) -> Check:
    """The check that asks Vault: reading the ticket there with the caller's own token, which needs that right alone."""

    def check(token: Secret, location: Location, deadline: Deadline) -> Caller | None:
        response = session.ask(VaultRequest("GET", paths.data(location), token=token), deadline)
        # Missing: it may be read, and there is none, or it has ended.
        return Caller(_name_of(session, token, deadline)) if isinstance(response, Ok | Missing) else None

    return check


def _name_of(session: VaultSession, token: Secret, deadline: Deadline) -> str:
    response = session.ask(VaultRequest("GET", paths.LOOKUP_SELF, token=token), deadline)
    if isinstance(response, BadToken | Denied):
        return "token"  # it may not ask, or was good for a single use more
    name = response.data.get("display_name")
    # It came from whoever made the token.
    return "".join(c if c.isprintable() else "?" for c in name[:100]) if isinstance(name, str) and name else "token"


class Verdict(NamedTuple):
    caller: Caller | None
    until: float


class Verdicts:
    """What Vault said of callers' tokens, for a short while, under a digest of each. For one thread.

    Times are of the monotonic clock.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, Location], Verdict] = OrderedDict()
        self._seen_good: OrderedDict[bytes, None] = OrderedDict()

    def find(self, digest: bytes, location: Location, now: float) -> Verdict | None:
        found = self._kept.get((digest, location))
        return found if found is not None and now < found.until else None

    def keep(self, digest: bytes, location: Location, caller: Caller | None, asked_at: float) -> Verdict:
        """`asked_at`: it counts from when Vault was asked, not from when the answer was there."""
        verdict = Verdict(caller, asked_at + (GRANTED_SECONDS if caller is not None else DENIED_SECONDS))
        _remember(self._kept, (digest, location), verdict)
        if caller is not None:
            _remember(self._seen_good, digest, None)
        return verdict

    def seen_good(self, digest: bytes) -> bool:
        """Whether Vault once said yes: such a caller is not counted among strangers."""
        return digest in self._seen_good


def digest_of(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


class Rate:
    """A bucket of one second's requests for each caller. For one thread."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, caller: Hashable, now: float) -> float:
        """0.0 if the caller may ask now, which is then counted; else the seconds until it may."""
        left, at = self._buckets.get(caller, (self._most, now))
        left = min(self._most, left + (now - at) * self._rate)
        if left < 1.0:
            return (1.0 - left) / self._rate
        _remember(self._buckets, caller, (left - 1.0, now))
        return 0.0


def _remember(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MAX_REMEMBERED:
        kept.popitem(last=False)
