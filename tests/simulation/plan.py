"""What one run is made of: drawn from a seed, or written down by name; and the shortest list of faults that fails.

A fault is aimed at the n-th time that an await point of that name is met (`Aim`); when it happens, the number of that
step is noted, and a failing run is told, repeated and shortened by those numbers (`Fault`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from tests.simulation.server import DIALECTS, ROTATIONS, Dialect, Rotation

# The times of a burst of calls: around the beginning of the soft and of the hard window, and the end of a ticket.
MOMENTS = (0.0, 2.0, 21.0, 190.0, 225.0, 268.0, 285.0, 301.0, 303.0, 320.0, 500.0, 590.0, 601.0, 618.0, 640.0)
BURST_SECONDS = 6.0
# How many plans have an episode, and how many calls come after it.
EPISODE_SHARE, LATER = 0.35, 8
# How many faults a plan aims at await points that it will most likely not meet.
AT_SELDOM = 5
# Where a fault does most harm, and so where most of them are aimed: around the spend, the save and the release.
SORE = (
    ("kill", "spend: read"),
    ("kill", "write grant: leave"),
    ("kill", "write grant: leave"),
    ("kill", "write grant: read"),
    ("kill", "write token: leave"),
    ("kill", "write token: read"),
    ("suspend", "spend: leave"),
    ("suspend", "read token: read"),
    ("suspend", "write grant: leave"),
    ("suspend", "write grant: read"),
    ("suspend", "write token: leave"),
    ("lose", "spend: arrive"),
    ("lose", "spend: answered"),
    ("cut", "spend: answered"),
    ("cut", "write grant: answered"),
    ("cut", "write grant: answered"),
    ("edit", "spend: read"),
    ("edit", "write grant: leave"),
    ("put", "spend: read"),
    ("patch", "spend: read"),
    ("patch", "write grant: leave"),
    ("seal", "write grant: processed"),
    ("down", "write grant: processed"),
)


class Setting(NamedTuple):
    """The site."""

    hosts: int = 1
    rotation: Rotation = "strict"
    dialect: Dialect = Dialect()
    ends_old_access: bool = False
    lifetime: float = 300.0
    ticket_kv: Literal[1, 2] = 2
    lease: Literal["delete", "field"] = "delete"
    bare: int = 0
    """How many of the hosts have no runtime folder."""
    standby: float = 0.0
    """The share of requests that the standby gets."""
    lag: float = 0.05
    slow: float = 0.0
    """The token endpoint takes up to so many seconds for each answer."""
    vault_skew: float = 0.0
    standby_skew: float = 0.0
    host_skew: tuple[float, ...] = ()
    login: Literal["token", "approle"] = "token"
    sharing: bool = False
    """Whether a second profile spends the same grant."""
    aliases: bool = False
    """Whether some calls spell Vault's address in another way."""
    reuse_grace: float = 30.0


class Act(NamedTuple):
    """Something that somebody does, `at` seconds after the beginning."""

    at: float
    what: str
    host: int = 0
    profile: str = "support"
    session: str = "login"
    alias: bool = False


class Aim(NamedTuple):
    """A fault that waits for its place. `point` ends with * where the rest does not matter."""

    kind: str
    point: str
    nth: int = 0


class Episode(NamedTuple):
    """The way to a counterexample of docs/promela, loosely: the rest of a plan is drawn around it."""

    acts: tuple[tuple[float, str, int], ...]
    """When (give or take a second), what, and on which host."""
    aims: tuple[Aim, ...]
    lag: float = 0.0
    standby: float = 0.0


class Fault(NamedTuple):
    """A fault that happened before that step."""

    step: int
    kind: str


class Plan(NamedTuple):
    """One run."""

    seed: int
    setting: Setting
    acts: tuple[Act, ...]
    aims: tuple[Aim, ...] = ()
    faults: tuple[Fault, ...] = ()
    name: str = ""


# The first refresh of a run writes the grant three times: claim, save, release.
EPISODES = (
    # Killed at the save; another host spends the token once more, and then the journal comes.
    Episode(((1, "get", 0), (20, "get", 1), (45, "get", 0)), (Aim("kill", "write grant: leave", 1),)),
    # Killed before the release; a takeover finds the ticket, and a third one looks at a standby.
    Episode(
        ((1, "get", 0), (226, "get", 0), (244, "get", 1), (246, "get", 2), (247, "get", 2), (249, "get", 0)),
        (Aim("kill", "write grant: leave", 5),),
        lag=30.0,
        standby=0.5,
    ),
    # Two rotations in a row, the second one's save is killed, and the next call asks a standby that has seen neither.
    Episode(
        ((1, "get", 0), (3.5, "get, forced", 0), (5.5, "standby falls behind", 0), (8, "get", 0), (9, "get", 0)),
        (Aim("kill", "write grant: leave", 4),),
        lag=0.05,
        standby=0.8,
    ),
    # Stalled before the release, or between claim and request, while others go on.
    Episode(
        ((1, "get", 0), (18, "get, forced", 1), (19, "get, forced", 2), (20, "get, forced", 1)),
        (Aim("suspend", "write grant: leave", 2), Aim("seal", "write grant: processed", 4)),
    ),
    Episode(((1, "get", 0), (17, "get", 1), (18, "get", 2)), (Aim("suspend", "write grant: read"),)),
)

# How often which call is made, beside `get`.
CALLS = (
    *("get",) * 22,
    *("get, forced",) * 4,
    *("get, nearly new", "get, uncached", "revoke", "edit", "patch", "put"),
    *("store", "store", "store, unproven"),
    *("round",) * 4,
    *("log out", "end the grant", "configure", "store again", "set Vault's clock", "answers late", "answers on time"),
    *("server goes", "server is back", "standby falls behind"),
)
KINDS_OF_FAULTS = (
    *("kill",) * 6,
    *("term", "int", "hup", "suspend", "stop", "clock", "log out", "put", "patch", "edit") * 2,
    *("lose",) * 4,
    *("cut",) * 3,
    *("late",) * 2,
    *("refuse", "broken", "gateway", "wall", "busy", "down", "seal"),
)


def draw(seed: int, points: Callable[[str, bool], Sequence[str]], off: frozenset[str] = frozenset()) -> Plan:
    """The plan of a seed. `points`: where a fault of a kind can occur, or where few runs come. `off`: what is not to
    happen."""
    chance = random.Random(f"plan {seed}")
    hosts = chance.choice((1, 2, 2, 3))
    setting = Setting(
        hosts=hosts,
        rotation=chance.choice((*ROTATIONS, "strict", "strict", "grace, same pair")),
        dialect=chance.choice(DIALECTS),
        ends_old_access=chance.random() < 0.15,
        ticket_kv=chance.choice((2, 2, 2, 1)),
        lease=chance.choice(("delete", "delete", "delete", "field")),
        bare=chance.choice((0, 0, 0, 0, 0, 1)),
        standby=chance.choice((0.0, 0.0, 0.5, 1.0)),
        lag=chance.choice((0.05, 0.1, 2.0, 2.0, 12.0, 30.0)),
        slow=chance.choice((0.0, 0.0, 0.0, 5.0)),
        vault_skew=chance.choice((0.0, 0.0, 40.0, -1800.0)),
        standby_skew=chance.choice((0.0, 0.0, 0.4)),
        host_skew=tuple(chance.choice((0.0, 0.0, 0.0, 75.0, -4000.0)) for _ in range(hosts)),
        login=chance.choice(("token", "token", "token", "approle")),
        sharing=chance.random() < 0.25,
        aliases=chance.random() < 0.2,
        reuse_grace=chance.choice((30.0, 30.0, 0.0)),
    )
    setting = _without(setting, off)
    acts = _acts(chance, setting, off)
    episode = chance.choice(EPISODES) if chance.random() < EPISODE_SHARE else None
    if episode is not None:
        setting = setting._replace(
            hosts=3, lag=episode.lag or setting.lag, standby=episode.standby or setting.standby, ticket_kv=2
        )
        acts = [act for act in acts if act.at > episode.acts[-1][0] + BURST_SECONDS or act.what == "get"][-LATER:]
        acts += [Act(round(at + chance.uniform(-1, 1), 3), what, host) for at, what, host in episode.acts]
    aims = [] if episode is None else list(episode.aims)
    kinds = [kind for kind in KINDS_OF_FAULTS if kind not in off]
    for _ in range(chance.choice((0, 1, 2, 3, 4, 5, 6, 8)) if episode is None else chance.choice((0, 0, 1))):
        if chance.random() < 0.6:
            kind, point = chance.choice(SORE)
        else:
            kind = chance.choice(kinds)
            point = chance.choice(points(kind, False))
        aims.append(Aim(kind, point, min(int(chance.expovariate(0.3)), 15)))
    for kind in chance.choices(kinds, k=AT_SELDOM):
        if where := points(kind, True):
            aims.append(Aim(kind, chance.choice(where), chance.randrange(2)))
    return Plan(seed, setting, tuple(sorted(acts)), tuple(aims))


def _without(setting: Setting, off: frozenset[str]) -> Setting:
    return setting._replace(
        ends_old_access=setting.ends_old_access and "server ends the old access token" not in off,
        sharing=setting.sharing and "two profiles on a grant" not in off,
        bare=setting.bare if "a host without a runtime folder" not in off else 0,
        aliases=setting.aliases and "two spellings of an address" not in off,
        standby_skew=setting.standby_skew if "nodes' clocks differ" not in off else 0.0,
    )


def _acts(chance: random.Random, setting: Setting, off: frozenset[str]) -> list[Act]:
    calls = [what for what in CALLS if what not in off]
    acts = []
    for moment in chance.sample(MOMENTS, chance.choice((4, 5, 6, 7))):
        for _ in range(chance.choice((1, 2, 3, 4, 5, 6))):
            acts.append(
                Act(
                    at=round(moment + chance.uniform(0, BURST_SECONDS) ** chance.choice((1, 0.2)), 3),
                    what=chance.choice(calls),
                    host=chance.randrange(setting.hosts),
                    profile="helpdesk" if setting.sharing and chance.random() < 0.4 else "support",
                    session="cron" if chance.random() < 0.15 and "two sessions of a user" not in off else "login",
                    alias=setting.aliases and chance.random() < 0.4,
                )
            )
    return acts


def shortest(faults: Sequence[Fault], fails: Callable[[tuple[Fault, ...]], bool]) -> tuple[Fault, ...]:
    """Fewer of them that still fail, by halves, quarters and so on (ddmin)."""
    found, parts = tuple(faults), 2
    if fails(()):
        return ()
    while len(found) > 1:
        size = max(1, len(found) // parts)
        pieces = [found[start : start + size] for start in range(0, len(found), size)]
        fewer = next((rest for piece in pieces if fails(rest := tuple(one for one in found if one not in piece))), None)
        if fewer is not None:
            found, parts = fewer, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(len(found), parts * 2)
    return found
