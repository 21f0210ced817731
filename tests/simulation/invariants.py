"""What must hold after each step: one function each, by the numbers of the design. And what is not asked yet, and why.

Each looks at the ledger and at the true state of servers and folders, never at what a program believes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.simulation.actors import Violation
from tests.simulation.files import texts_in
from tests.simulation.ledger import Given, Sent
from tests.simulation.observed import fresh_is_published
from tests.simulation.people import GRANT
from tests.simulation.server import family_of
from tests.simulation.vault import document
from vault_ticket_plugin.secret import Secret

if TYPE_CHECKING:
    from tests.simulation.world import World

# What a call with a usable ticket at hand may take, and what the simulated clocks and delays add.
PROMPT, SLACK = 3.0, 0.2
# Between two asks about a rejected token.
REJECTED_AGAIN = 300.0
# A fault so soon before a rejection, or any time after it, may have kept it from being noted.
UNNOTED = 60.0

PROMPT_NAME = "answers within 3 s"
OLD_ACCESS = "server ends the old access token"
STORE_RACE = "a seed is replayed"
CROSSED = "a save under another's claim"

SWITCHED_OFF: Mapping[str, str] = {
    "term": "The promise I, 2: a spend outlives its caller",
    "int": "The promise I, 2",
    "hup": "The promise I, 2",
    "log out": "The promise I, 3: what only memory has goes to disk after the first failed save",
    "two profiles on a grant": "The promise I, 3: a journal is found by what was spent",
    "two spellings of an address": "The promise I, 3",
    "two sessions of a user": "The promise I, 3",
    "a host without a runtime folder": "The promise I, 3: a journal may come while a claim is waited for",
    STORE_RACE: "The promise I, 3, and II, 5: a seed is not written over what came of it, nor over a person's patch",
    CROSSED: "The promise I, 3: a replay waits for a foreign live claim",
    "late": "The promise II, 1: an answer that arrives within the claim's time is used",
    "answers late": "The promise II, 1: Vault's time is an interval",
    "set Vault's clock": "The promise II, 1",
    "gateway": "The promise II, 2: a bare 503 is in doubt",
    "wall": "The promise II, 2: a latch needs an OAuth error code in JSON",
    PROMPT_NAME: "The promise II, 3: nobody with a usable ticket waits more than 3 s",
    OLD_ACCESS: "The promise II, 3: cache_for",
    "store again": "The promise II, 5: a token that was answered with another is not spent again by `store`",
}
"""By name: what is not asked, or does not happen, until the design that mends it is there; with the reason."""


def i1_no_token_is_lost(world: World) -> None:
    """I1: what somebody of ours has read and the server still takes is in the grant, a journal, or a living call."""
    owed, server, stored = world.ledger.owed, world.server, world.ledger.stored
    for token in list(owed):
        name, reader = family_of(token), owed[token].reader
        if name not in stored or not server.takes(token) or _is_void(world, name):
            del owed[token]
        elif not reader.done and not reader.dead:
            continue
        elif not _kept(world, token):
            how = f", {reader.signalled}" if reader.signalled else ", killed" if reader.dead else ""
            raise Violation("I1", f"{token} is lost: {reader.name} had read it{how}")
    for actor, access in world.ledger.news.published:
        found = server.access.get(access)
        if found is not None and found.token not in world.ledger.saved:
            raise Violation(
                "I1", f"{actor.name} publishes {access}: the fleet lives on it, and one journal has the rest"
            )


def _is_void(world: World, name: str) -> bool:
    """Whether a person has put another there since; or the family is of a case that is switched off."""
    ledger = world.ledger
    return ledger.overruled(name, _standing(world)) or (STORE_RACE in world.off and name in ledger.raced)


def _kept(world: World, token: str) -> bool:
    """It, or a sister that is as good: a server may answer two uses of one token with two."""
    name = family_of(token)
    standing = _token(world)
    if standing == token or (family_of(standing) == name and world.server.takes(standing)):
        return True
    kept = [_token_in(text) for host in world.hosts for _, text in journals(world, host.name)]
    return any(family_of(one) == name and world.server.takes(one) for one in kept)


def _token(world: World) -> str:
    """The refresh token in the grant."""
    return str((document(world.cluster.state, GRANT) or {}).get("refresh_token", ""))


def _standing(world: World) -> str:
    return family_of(_token(world))


def journals(world: World, host: str) -> list[tuple[str, str]]:
    """(name, text) of all that waits on that host, in whichever folder."""
    root = next(one.root for one in world.hosts if one.name == host)
    folders = sorted(str(path) for path in root.glob("*") if path.name.startswith(("run-", "state", "home")))
    found = []
    for folder in folders:
        found += texts_in(folder, ".journal") + texts_in(f"{folder}/vault-ticket", ".journal")
    return found


def _token_in(text: str) -> str:
    try:
        return str(json.loads(text)["refresh_token"])
    except (ValueError, KeyError, TypeError):
        return ""


def i2_one_spends_at_a_time(world: World) -> None:
    """I2: no token is in two requests at once, and a second use is one that the document had a doubt about."""
    for sent in world.ledger.news.sent:
        others = [one for one in world.ledger.flying.get(sent.token, ()) if one.actor is not sent.actor]
        if others:
            raise Violation("I2", f"{sent.token} is sent while it is under way by {others[0].actor.name}")
        if sent.actor.kind == "store":
            _storing_harms_nothing(world, sent)
        elif not world.server.takes(sent.token) and not _ended(world, sent.token) and world.server.rotation != "none":
            _second_use(world, sent)


def _second_use(world: World, sent: Sent) -> None:
    waiting = [_token_in(text) for _, text in journals(world, sent.actor.process.machine.name)]
    successors = world.server.families[family_of(sent.token)].tokens[sent.token].children
    kept = next((one for one in waiting if one in successors), None)
    if kept is not None and world.server.takes(kept):
        raise Violation("I1", f"{sent.token} is spent by {sent.actor.name} while {kept} waits in a journal there")
    if world.ledger.lost_by.get(sent.actor) == sent.token and world.plan.setting.reuse_grace:
        return  # tried again by the same call, which the profile allows
    if STORE_RACE in world.off and family_of(sent.token) in world.ledger.raced:
        return
    if Secret(sent.token).fingerprint() not in _doubts(world, sent):
        raise Violation(
            "I2", f"{sent.token} was spent before, and {sent.actor.name} sends it without a doubt on record"
        )


def _doubts(world: World, sent: Sent) -> set[str]:
    """What the document had a doubt about when it was claimed; a late save hands it on to the token that it brings."""
    claimed = world.ledger.claims.get(sent.actor)
    notes = {} if claimed is None else claimed.notes
    doubt, claim = notes.get("in_doubt") or {}, notes.get("claim") or {}
    return {str(doubt["fingerprint"]), str(claim.get("fingerprint", ""))} if "fingerprint" in doubt else set()


def _storing_harms_nothing(world: World, sent: Sent) -> None:
    """I5, the second half: what was stored before is not spent again."""
    if world.server.rotation == "none":
        return
    name = family_of(sent.token)
    if name in world.ledger.stored and not world.server.takes(sent.token) and not _ended(world, sent.token):
        raise Violation("I5", f"`store` spends {sent.token} a second time, and ends the family that is stored")


def _ended(world: World, token: str) -> bool:
    family = world.server.families.get(family_of(token))
    return family is None or bool(family.ended_by)


def i3_what_is_handed_out_is_good(world: World) -> None:
    """I3: a ticket is usable by true time, and of a grant of its profile; who has one at hand gets one in time."""
    for given in world.ledger.news.given:
        if given.handed is not None:
            _is_usable(world, given)
        if given.held is not None and PROMPT_NAME not in world.off and not world.ledger.late(given.actor):
            _is_prompt(world, given, given.held)


def _is_prompt(world: World, given: Given, held: str) -> None:
    """`held` was at hand all the time if it is good still."""
    if not world.server.alive(held) or held in world.ledger.withdrawn:
        return
    if given.handed is None:
        raise Violation("I3", f"{given.actor.name} failed with a usable ticket at hand: {given.actor.error}")
    took = given.handed.at - given.actor.began
    if took > PROMPT + SLACK:
        raise Violation("I3", f"{given.actor.name} took {took:.1f} s with a usable ticket at hand")


def _is_usable(world: World, given: Given) -> None:
    assert given.handed is not None
    access = world.server.access.get(given.handed.access_token)
    if access is None or access.family not in world.ledger.ever_stored:
        raise Violation("I3", f"{given.actor.name} was given {given.handed}, which is no ticket of its profile")
    if "answers late" in world.off and world.ledger.late(given.actor):
        return  # it may have read Vault's time late
    if access.ends <= given.handed.at and given.handed.access_token not in world.ledger.withdrawn:
        ago = given.handed.at - access.ends
        raise Violation("I3", f"{given.actor.name} was given {given.handed}, which ended {ago:.1f} s ago")


def i5_what_a_person_stored_stands(world: World) -> None:
    """I5: the grant is of the family that a person stored last, and what a person edited is kept."""
    for writer in world.ledger.news.grant_written_by:
        found = document(world.cluster.state, GRANT) or {}
        name = family_of(str(found.get("refresh_token", "")))
        if STORE_RACE in world.off and (name in world.ledger.raced or writer.kind.startswith("store")):
            continue
        if name not in world.ledger.stored:
            raise Violation("I5", f"{writer.name} wrote {name} over what a person stored ({world.ledger.stored})")
        if found.get("edits") != world.ledger.edits:
            raise Violation("I5", f"{writer.name} wrote over a person's edit")


def i6_a_rejection_is_remembered(world: World) -> None:
    """I6: a token that the server has rejected for good is not asked about again."""
    for sent in world.ledger.news.sent:
        asked = [at for at in world.ledger.rejections.get(sent.token, ()) if at > world.scheduler.now - REJECTED_AGAIN]
        unnoted = asked and world.ledger.last_trouble > asked[0] - UNNOTED
        if asked and not unnoted and sent.actor.kind in ("get", "round"):
            raise Violation("I6", f"{sent.actor.name} asks about {sent.token}, which was rejected {len(asked)} times")


def i7_no_needless_spend(world: World) -> None:
    """I7: nobody spends who claimed while a fresh ticket was published, unless it was asked for."""
    for sent in world.ledger.news.sent:
        claimed = world.ledger.claims.get(sent.actor)
        asked = sent.actor.kind not in ("get", "round")
        if claimed is not None and claimed.fresh and not asked and fresh_is_published(world, sent.actor):
            raise Violation("I7", f"{sent.actor.name} spends {sent.token} though a fresh ticket was published")


ALL: tuple[Callable[[World], None], ...] = (
    i5_what_a_person_stored_stands,  # first: what it finds is a loss as well
    i1_no_token_is_lost,
    i2_one_spends_at_a_time,
    i3_what_is_handed_out_is_good,
    i6_a_rejection_is_remembered,
    i7_no_needless_spend,
)
