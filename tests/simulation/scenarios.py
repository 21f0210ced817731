"""Runs that somebody wrote down: each is a case that was found, by hand or by a seed, and must not come back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from tests.simulation.plan import Act, Aim, Plan, Setting


class Scenario(NamedTuple):
    """A plan, and what is known of it."""

    plan: Plan
    violates: str
    """The invariant that it violated when it was found."""
    of: Literal["", "I", "II"] = ""
    """The part of the promise (docs/decisions/0023) that is to mend it; empty once it has."""


FIRST, AGAIN = Act(0.0, "get"), Act(40.0, "get")
# At the save, which is the second write of the grant: the first one is the claim.
SEALED_AT_SAVE = Aim("seal", "write grant: processed", 1)
KILLED_AT_SAVE = Aim("kill", "write grant: leave", 1)
USUAL = Setting()


def _plan(acts: tuple[Act, ...], aims: tuple[Aim, ...] = (), setting: Setting = USUAL) -> Plan:
    return Plan(0, setting, acts, aims)


SCENARIOS: Mapping[str, Scenario] = {
    "SIGTERM as the answer is read": Scenario(_plan((FIRST, AGAIN), (Aim("term", "spend: read"),)), "END", "I"),
    "SIGTERM after the answer": Scenario(_plan((FIRST, AGAIN), (Aim("term", "rename journal"),)), "I1", "I"),
    "SIGINT after the answer": Scenario(_plan((FIRST, AGAIN), (Aim("int", "write file"),)), "I1", "I"),
    "SIGHUP between request and answer": Scenario(_plan((FIRST, AGAIN), (Aim("hup", "spend: read"),)), "END", "I"),
    "SIGINT while the save is retried, then a logout": Scenario(
        _plan((FIRST, Act(6.0, "log out"), AGAIN), (SEALED_AT_SAVE, Aim("int", "sleep", 1))), "I1", "I"
    ),
    "a logout while the save is failing, then a kill": Scenario(
        _plan((FIRST, AGAIN), (SEALED_AT_SAVE, Aim("log out", "sleep", 1), Aim("kill", "sleep", 8))), "I1", "I"
    ),
    "two profiles share a grant, a journal waits": Scenario(
        _plan((FIRST, AGAIN._replace(profile="helpdesk")), (KILLED_AT_SAVE,), Setting(sharing=True)), "I1", "I"
    ),
    "the journal of another spelling of the address": Scenario(
        _plan((FIRST, AGAIN._replace(alias=True)), (KILLED_AT_SAVE,)), "I1", "I"
    ),
    "a login's journal, and cron": Scenario(
        _plan((FIRST, AGAIN._replace(session="cron")), (KILLED_AT_SAVE,)), "I1", "I"
    ),
    "a journal that comes while its claim is waited for": Scenario(
        _plan((FIRST, Act(0.2, "get")), (KILLED_AT_SAVE,), Setting(bare=1, slow=3.0)), "I1", "I"
    ),
    "a patch over a seed that waits": Scenario(
        _plan(
            (FIRST, Act(10.0, "store"), Act(60.0, "patch"), Act(70.0, "get, forced")),
            (Aim("down", "write grant: processed", 3), Aim("kill", "sleep", 1)),
        ),
        "I5",
        "I",
    ),
    "a seed that had landed, replayed over what it was rotated to": Scenario(
        _plan(
            (Act(0.0, "store"), Act(10.0, "get", host=1), Act(400.0, "get")),
            (Aim("kill", "write grant: read"),),
            Setting(hosts=2),
        ),
        "I1",
        "I",
    ),
    "a seed is replayed and spent while its store goes on": Scenario(
        _plan((Act(0.0, "store"), Act(2.0, "get")), (Aim("late", "write grant: arrive"),)), "I1", "II"
    ),
    "a late answer": Scenario(_plan((FIRST, AGAIN), (Aim("late", "spend: answered"),)), "END", "II"),
    "an old token is stored again": Scenario(_plan((Act(0.0, "get"), Act(30.0, "store again"))), "I5", "II"),
    "Vault's clock was half an hour ahead": Scenario(
        _plan((FIRST, Act(20.0, "set Vault's clock"), Act(400.0, "get")), (), Setting(vault_skew=1800.0)),
        "I3",
        "II",
    ),
    "Vault's answers are late for one host": Scenario(
        _plan(
            (
                *(FIRST, Act(330.0, "answers late"), Act(331.0, "get"), Act(340.0, "server goes")),
                *(Act(341.0, "get", host=1), Act(350.9, "server is back")),
            ),
            (Aim("late", "spend: arrive", 8),),
            Setting(hosts=2, ticket_kv=1),
        ),
        "I2",
        "II",
    ),
    "a gateway's 503 after an upstream reset": Scenario(
        _plan((FIRST, AGAIN), (Aim("gateway", "spend: processed"),), Setting(reuse_grace=0.0)), "I2", "II"
    ),
    "a firewall's 401 in HTML": Scenario(_plan((FIRST, AGAIN), (Aim("wall", "spend: processed"),)), "END", "II"),
    "a server ends the old access token": Scenario(
        _plan(
            (FIRST, Act(0.5, "get", host=1), Act(150.0, "get, forced"), Act(160.0, "get", host=1)),
            (),
            Setting(hosts=2, ends_old_access=True),
        ),
        "I3",
        "II",
    ),
    "a stopped holder": Scenario(
        _plan((FIRST, Act(272.0, "get, forced"), Act(272.3, "get")), (Aim("stop", "spend: leave", 1),)),
        "I3",
        "II",
    ),
}
