"""What really happened, as somebody who sees all of it would write it down. The invariants judge by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulation.actors import Actor
from tests.simulation.calls import Handed
from tests.simulation.network import Exchange
from tests.simulation.server import family_of

# How soon a journal in memory has a copy on disk, where the save fails.
TO_DISK = 1.5


@dataclass(eq=False)
class Owed:
    """A refresh token that somebody of ours has read. `safe`: its reader has gone on to something else than files.

    A SIGKILL before that is one between request and answer, as far as anybody can tell.
    """

    token: str
    reader: Actor
    spent: str
    safe: bool = False


class Sent(NamedTuple):
    """A spend that has just left."""

    actor: Actor
    token: str


class Given(NamedTuple):
    """What a call brought. `held`: a usable ticket that was within its reach as it began."""

    actor: Actor
    handed: Handed | None
    held: str | None


class Claimed(NamedTuple):
    """What was there when a claim was written."""

    notes: Mapping[str, Any]
    """Ours, as they stand with the claim."""
    fresh: bool
    """Whether a fresh ticket was published."""


def _goes_back(before: str, after: str) -> bool:
    """Whether another family, or an older token of the same, is put in place."""
    if family_of(before) != family_of(after):
        return True
    return int(after.rpartition("-")[2] or 0) < int(before.rpartition("-")[2] or 0)


@dataclass(eq=False)
class News:
    """What happened in this step."""

    sent: list[Sent] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    grant_written_by: list[Actor] = field(default_factory=list)
    published: list[tuple[Actor, str]] = field(default_factory=list)
    """Access tokens on the leased path."""

    def clear(self) -> None:
        self.sent.clear()
        self.given.clear()
        self.grant_written_by.clear()
        self.published.clear()


class Ledger:
    """One run's."""

    def __init__(self) -> None:
        self.news = News()
        self.owed: dict[str, Owed] = {}
        self.flying: dict[str, list[Exchange]] = {}
        self.lost_by: dict[Actor, str] = {}
        """The token whose answer a call has itself lost."""
        self.stored: set[str] = set()
        """The families any of which may stand in the grant: the last that a person stored; two while it is open."""
        self.ever_stored: set[str] = set()
        self.storing: dict[Actor, str] = {}
        """The family that a `store` under way has proved."""
        self.put_at: dict[str, float] = {}
        self.store_began: dict[str, float] = {}
        self.edits: int | None = None
        """What stands in the field that a person edits."""
        self.claims: dict[Actor, Claimed] = {}
        """What each call's last claim was made over."""
        self.saved: set[str] = set()
        """Every refresh token that was in the grant."""
        self.raced: set[str] = set()
        """The families that met a `store` under way, or the journal that it left, or shared a host with one."""
        self.crossed: set[str] = set()
        """The families of which a token was saved under another holder's claim."""
        self.logged_out: dict[str, float] = {}
        """When the user's last session on a host ended."""
        self.rejections: dict[str, list[float]] = {}
        """When whoever asked about a token has read that it is dead."""
        self.pending: dict[Actor, str] = {}
        """The token that a call has sent, as long as it has not read an answer."""
        self.excused: set[str] = set()
        """The families that a fault may have cost us, by the design's own words."""
        self.stopped: set[Actor] = set()
        self.held: dict[Actor, str | None] = {}
        self.troubled: set[str] = set()
        """The hosts that a fault has met since the last call there began."""
        self.last_trouble = 0.0
        self.withdrawn: set[str] = set()

    # -- people

    def person_stores(self, family: str, now: float) -> None:
        """By Vault's own tools: from now on it, or what a `store` under way brings."""
        self.put_at[family] = now
        self.stored = {family, *self.storing.values()}
        self.ever_stored.add(family)

    def proved(self, actor: Actor, family: str) -> None:
        """A `store` has proved a token: it will stand, or what stands."""
        if self.storing or any(other in self.store_began for other in self.stored):
            self.raced |= {family, *self.storing.values(), *self.stored}
        self.storing[actor] = family
        self.store_began[family] = actor.began
        self.stored.add(family)
        self.ever_stored.add(family)

    def overruled(self, family: str, standing: str) -> bool:
        """Whether a person put what stands there while a `store` of the family was under way: either may win."""
        return family != standing and self.put_at.get(standing, 0.0) > self.store_began.get(family, float("inf")) - 1.0

    def grant_written(self, actor: Actor, before: Mapping[str, Any], document: Mapping[str, Any], now: float) -> None:
        if actor.kind == "store, unproven":
            self.person_stores(family_of(str(document.get("refresh_token", ""))), now)
        tokens = [str(one.get("refresh_token", "")) for one in (before, document)]
        was, family = map(family_of, tokens)
        self.saved.add(tokens[1])
        if not actor.kind.startswith("store") and family in self.store_began and _goes_back(*tokens):
            self.raced |= {was, family}
        claim = (document.get("vault_ticket") or {}).get("claim") or {}
        made = self.claims[actor].notes.get("claim") if actor in self.claims else None
        if tokens[0] != tokens[1] and claim and claim.get("id") != (made or {}).get("id"):
            self.crossed.add(family)
        if self.storing.get(actor) == family:
            del self.storing[actor]  # it has landed: what a person stores from now on is later
        if family in self.stored and family != was:
            self.stored = {family, *self.storing.values()}
        if actor.kind.startswith("store"):
            self.put_at[family] = now
        if family != was or actor.kind.startswith("store"):
            self.edits = document.get("edits")  # what `store` writes replaces all that was there
        self.news.grant_written_by.append(actor)

    # -- tokens

    def read(self, actor: Actor, spent: str, body: bytes) -> None:
        """An answer of the token endpoint has reached us."""
        try:
            token = json.loads(body).get("refresh_token")
        except (ValueError, AttributeError):
            return
        if isinstance(token, str) and token != spent:
            beside = [one for one in self.owed.values() if one.reader.process.machine is actor.process.machine]
            if any(one.kind == "store" for one in (actor, *(owed.reader for owed in beside))):
                self.raced |= {family_of(token), *(family_of(one.token) for one in beside)}
            self.owed[token] = Owed(token, actor, spent)

    def moved(self, actor: Actor, point: str) -> None:
        """The actor stands at another await point."""
        for owed in self.owed.values():
            if owed.reader is actor and not owed.safe and (": " in point or point == "sleep"):
                owed.safe = True

    def killed(self, actor: Actor, now: float) -> None:
        """By SIGKILL nobody can have kept what was read in the same breath, nor what a logout took away just before.

        SIGHUP is no excuse.
        """
        at_logout = now - self.logged_out.get(actor.process.machine.name, 0.0) < TO_DISK
        for token in [token for token, owed in self.owed.items() if owed.reader is actor]:
            if not actor.signalled and (at_logout or not self.owed[token].safe):
                del self.owed[token]
        self.disturbed(now, actor.process.machine.name)

    def user_logs_out(self, host: str, now: float) -> None:
        """What only memory had of processes that were killed is gone with it: two faults, and declared."""
        self.logged_out[host] = now
        for token, owed in list(self.owed.items()):
            reader = owed.reader
            if reader.dead and not reader.signalled and reader.process.machine.name == host:
                self.excused.add(family_of(token))
                del self.owed[token]
        self.disturbed(now, host)

    # -- faults

    def disturbed(self, now: float, host: str = "") -> None:
        """Calls under way there, or everywhere, may be late from now on, and rejections unnoted."""
        self.last_trouble = now
        self.troubled.add(host)

    def excuse(self) -> None:
        """What is under way, or not in Vault yet, may be lost, or be spent a second time by another host."""
        self.excused |= {family_of(token) for token in (*self.owed, *self.pending.values())}

    def late(self, actor: Actor) -> bool:
        return actor in self.stopped or actor.process.machine.name in self.troubled or "" in self.troubled
