"""SIGKILL at every boundary of the refresh transaction, over a real server; rotation with reuse detection is on.

First to the process that spends. Afterwards the next `get` succeeds by itself, on the same host and on another one,
once the dead one's claim is over.
The one exception is declared: where the server has rotated the token and nobody but the dead process knows the new
one, and the server has no grace, the grant is dead, and whoever finds that out names the host to look at.

Then to the command that waits for it, and every other signal that ends one: that loses nothing.
"""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet, ends
from tests.support.bao import DevServer
from tests.support.crash import STEPS
from tests.support.emulator import Emulator
from tests.support.process import wait_until
from vault_ticket_plugin.errors import SpendEnded

MOMENTS = [*(f"before:{step}" for step in STEPS), f"after:{STEPS[-1]}"]
# The server has answered, and the answer has not reached the journal: nobody has the new token.
NOBODY_KNOWS = {"before:answer", "before:journal"}
# The journal has it: its own host goes on, any other one can't know.
ONE_HOST_KNOWS = {"before:save"}


@pytest.fixture
def fleet(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Callable[[str], Fleet]:
    def make(name: str) -> Fleet:
        made = Fleet(bao, emulator, tmp_path / name)
        made.put_ticket(left=-5)
        return made

    return make


def crash_two(fleet: Callable[[str], Fleet], moment: str) -> list[Fleet]:
    """The same crash on web-1 of two sites of their own: one for each host that asks next."""
    sites = [fleet("same"), fleet("other")]
    for site in sites:
        result = site.crash("web-1", moment)
        if moment == "before:look":  # that is the command itself
            assert result.code == -signal.SIGKILL
        elif moment != f"after:{STEPS[-1]}":
            assert result.code == SpendEnded.exit_code
            assert "was ended before it had finished" in result.err
    return sites


def test_the_steps_are_all_that_a_refresh_does(fleet: Callable[[str], Fleet], tmp_path: Path) -> None:
    """So that no boundary is missing below."""
    trace = tmp_path / "trace"
    site = fleet("traced")
    site.assert_good(site.crash("web-1", "never", {"CRASH_TRACE": str(trace)}))
    assert trace.read_text().splitlines() == list(STEPS)


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_crash_the_next_get_succeeds_by_itself(
    fleet: Callable[[str], Fleet], emulator: Emulator, moment: str
) -> None:
    sites = crash_two(fleet, moment)
    started = [sites[0].start("web-1"), sites[1].start("web-2")]
    hosts = ("web-1", "web-2")
    dead = 0
    for site, host, result in zip(sites, hosts, ends(started), strict=True):
        if moment in NOBODY_KNOWS or (moment in ONE_HOST_KNOWS and host == "web-2"):
            dead += 1
            assert (result.code, result.out) == (77, "")
            assert "its answer was lost" in result.err
            assert f"(pid {pid_of_the_dead(site)}" in result.err
            assert "journal" in result.err
            assert site.get_at("web-3").code == 77  # latched: not asked again
            site.put_grant({"refresh_token": emulator.issue_grant()})
            site.assert_good(site.get_at("web-4"))
            continue
        ticket = site.assert_good(result)
        assert site.has_the_newest_token()
        if moment != "before:release":  # all was done by then: the dead one's claim is nobody's concern
            assert site.notes().get("claim") is None
        published = site.ticket()
        assert published is not None
        assert published["data"]["access_token"] == ticket
        assert site.journals(host) == []
    stats = emulator.stats()
    assert stats.reuses == dead
    assert stats.max_in_flight <= 2  # one for each site


@pytest.mark.parametrize("moment", sorted(NOBODY_KNOWS | ONE_HOST_KNOWS))
def test_a_server_with_a_grace_gives_the_same_pair_again(
    fleet: Callable[[str], Fleet], emulator: Emulator, moment: str
) -> None:
    """The spent token is tried once more, and nothing is lost even where nobody knew the new one."""
    emulator.behaviour.grace = 60
    sites = crash_two(fleet, moment)
    started = [sites[0].start("web-1"), sites[1].start("web-2")]
    for site, result in zip(sites, ends(started), strict=True):
        site.assert_good(result)
        assert site.has_the_newest_token()
        assert site.notes().get("claim") is None
    assert emulator.stats().reuses == 0


def test_a_late_journal_does_not_hurt_after_another_host_has_gone_on(
    fleet: Callable[[str], Fleet], emulator: Emulator
) -> None:
    """The dead host's entry is older than what the grant has come to: it is found to be void, and removed."""
    emulator.behaviour.grace = 60
    site = fleet("late")
    site.crash("web-1", "before:save")
    assert len(site.journals("web-1")) == 1
    site.assert_good(site.get_at("web-2"))
    site.assert_good(site.get_at("web-2", "--force"))
    site.assert_good(site.get_at("web-1", "--force"))
    assert site.journals("web-1") == []
    assert site.has_the_newest_token()
    assert emulator.stats().reuses == 0


def pid_of_the_dead(site: Fleet) -> str:
    """As the doubt that the next holder noted has it."""
    holder: str = site.notes()["in_doubt"]["holder"]
    return holder.partition("(pid ")[2].partition(",")[0]


# -- the command that waits


ENDING = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
# The command is past its own part: a process spends.
CARRIED = MOMENTS[MOMENTS.index("before:read") :]


def check_nothing_is_lost(site: Fleet, moment: str) -> None:
    """The spend has gone on, or had not begun. Whichever it was, one request is all it takes."""
    site.assert_good(site.get_at("web-1"))
    wait_until(lambda: "claim" not in site.notes(), "the claim's release")
    assert site.has_the_newest_token()
    assert site.journals("web-1") == []
    stats = site.api.stats()
    assert (stats.reuses, stats.refreshes) == (0, 1), moment


@pytest.mark.parametrize("moment", CARRIED)
@pytest.mark.parametrize("whom", ["command", "group"])
def test_a_killed_command_does_not_end_the_spend(fleet: Callable[[str], Fleet], moment: str, whom: str) -> None:
    site = fleet("killed")
    site.signal("web-1", moment, signal.SIGKILL, whom)
    check_nothing_is_lost(site, moment)


@pytest.mark.parametrize("moment", ["before:claim", "before:answer", "before:save", "before:release"])
@pytest.mark.parametrize("number", ENDING[1:])
def test_a_command_told_to_end_ends_by_that_signal_and_the_spend_goes_on(
    fleet: Callable[[str], Fleet], number: signal.Signals, moment: str
) -> None:
    site = fleet("told")
    result = site.signal("web-1", moment, number, "group")
    assert (result.code, result.out) == (-number, "")
    check_nothing_is_lost(site, moment)
