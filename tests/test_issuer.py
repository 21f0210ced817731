"""The one use case: which ticket is handed out, at what price, and what happens when something is away."""

import json
import logging
import threading
from dataclasses import replace
from unittest.mock import patch

import pytest

from tests.fakes import Fault, fail_once
from tests.world import PROFILE, SEALED, FakeProcess, World
from vault_ticket_plugin.errors import (
    Busy,
    ConfigError,
    EndpointUnavailable,
    GrantMissing,
    GrantRejected,
    SaveFailed,
    StoredDataInvalid,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.issuer import SOFT_PATIENCE
from vault_ticket_plugin.model import Claim, Demand, LiveTicket, Windows
from vault_ticket_plugin.refresh.retry import COOLDOWN_INITIAL, COOLDOWN_MAX
from vault_ticket_plugin.secret import Secret

GRANT, TICKET = PROFILE.grant.path, PROFILE.ticket.path


def sealed(process: FakeProcess, seconds: float = 1.0) -> FakeProcess:
    process.lose_vault(seconds)
    return process


def claimed_by_another(world: World) -> None:
    claim = Claim("id", "web-9 (pid 1)", 15.0, Secret(world.token).fingerprint())
    world.note(claim=claim)


# -- the shortest way


def test_the_first_call_refreshes_and_the_second_is_answered_from_the_cache(world: World) -> None:
    world.seed()
    assert world.host().process().get() == "ticket-1"
    again = world.host().process()
    assert again.get() == "ticket-1"
    assert (again.store.calls, again.endpoint.seen) == ([], [])


def test_another_host_finds_the_ticket_on_the_leased_path_with_one_read(world: World) -> None:
    world.seed()
    world.host("web-1").process().get()
    other = world.host("web-2").process()
    assert other.get() == "ticket-1"
    assert other.store.calls == [("read", TICKET)]


def test_in_the_soft_window_the_ticket_is_renewed(world: World) -> None:
    world.seed()
    world.host().process().get()
    world.wait(3599 - 1200 + 1)
    assert world.host().process().get() == "ticket-2"
    assert world.host("web-2").process().get() == "ticket-2"
    assert world.server.refreshes == 2


def test_in_the_soft_window_nobody_waits_for_another_host(world: World) -> None:
    """What there is is handed out, with two reads and no second look."""
    world.seed()
    world.put_ticket(left=600)
    claimed_by_another(world)
    one, before = world.host().process(), world.time.now
    assert one.get() == "an-older-ticket"
    assert one.store.calls == [("read", TICKET), ("read", GRANT)]
    assert world.time.now == before
    assert world.server.tickets == 0


def test_in_the_soft_window_nobody_waits_for_another_process_of_this_host(world: World) -> None:
    world.seed()
    host = world.host()
    host.process().get()
    world.wait(3000)
    with host.process().issuer.lock.queued() as turn:
        assert turn.take()
        one, before = host.process(), world.time.now
        assert one.get() == "ticket-1"
    assert one.store.calls == []
    assert world.time.now - before < 0.1


def test_in_the_hard_window_another_hosts_refresh_is_waited_for(world: World) -> None:
    world.seed()
    world.put_ticket(left=60)
    claimed_by_another(world)
    one = world.host().process()

    def meanwhile(call: str, path: str) -> None:  # noqa: ARG001
        if len(one.store.calls) == 6:
            world.put_ticket(left=3600, token="theirs")

    one.store.before = meanwhile
    assert one.get() == "theirs"


def test_behind_another_process_of_this_host_its_ticket_is_used(world: World) -> None:
    world.seed()
    host = world.host()
    first, second = host.process(), host.process()
    with first.issuer.lock.queued() as turn:
        assert turn.take()

        def finish(seconds: float) -> None:
            world.wait(seconds)
            if first.cache.ticket() is None and seconds > 0.01:
                ticket = world.host("elsewhere").process().ticket()
                first.cache.put(LiveTicket.at(ticket, world.time.now, host.clock.monotonic()), Windows())

        with patch.object(host.clock, "sleep", finish):
            assert second.get() == "ticket-1"
    assert second.store.calls == []


def test_behind_another_process_patience_ends_with_the_callers_deadline(world: World) -> None:
    world.seed()
    host = world.host()
    with host.process().issuer.lock.queued() as turn:
        assert turn.take()
        before = world.time.now
        with pytest.raises(Busy, match="this host"):
            host.process().get(timeout=4)
    assert world.time.now - before <= 4
    assert host.process().get() == "ticket-1"  # busy is no failure to remember


def test_threads_of_one_process_share_one_call(world: World) -> None:
    world.seed()
    one = world.host().process()
    entered, go = threading.Event(), threading.Event()

    def wait(call: str, path: str) -> None:  # noqa: ARG001
        entered.set()
        go.wait(10)

    one.endpoint.before = wait
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(one.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert got == ["ticket-1"] * 8
    assert one.endpoint.seen == ["a-1"]


def test_threads_share_an_error_too(world: World) -> None:
    one = world.host().process()
    errors: list[VaultTicketError] = []

    def ask() -> None:
        try:
            one.get()
        except VaultTicketError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [type(error) for error in errors] == [GrantMissing] * 4


@pytest.mark.parametrize("left", [900.0, 60.0], ids=["soft", "hard"])
def test_a_daemon_that_is_away_does_not_keep_a_ticket_from_being_renewed(world: World, left: float) -> None:
    """What is cached is what it was, and not what the daemon has said."""
    world.seed()
    process = world.host().process()
    process.get()
    world.wait(3599 - left)
    again = world.host().process()
    issuer = replace(again.issuer, ask_daemon=lambda _min_ttl, _deadline: None)
    assert issuer.ticket(Demand(), again.deadline()).ticket.access_token == Secret("ticket-2")


# -- what the caller asks for


def test_min_ttl_is_met_by_a_refresh_where_the_ticket_at_hand_is_too_short(world: World) -> None:
    world.seed()
    one = world.host().process()
    assert one.get() == "ticket-1"
    world.wait(1000)
    assert one.get(min_ttl=2000) == "ticket-1"
    assert one.get(min_ttl=3000) == "ticket-2"


def test_a_min_ttl_that_no_ticket_can_meet_is_an_error_and_not_a_refresh_each_time(world: World) -> None:
    world.seed()
    one = world.host().process()
    for _ in range(3):
        with pytest.raises(ConfigError, match="59m"):
            one.get(min_ttl=7200)
    assert world.server.refreshes == 1


@pytest.mark.parametrize("cached", [True, False])
def test_force_brings_another_ticket(world: World, cached: bool) -> None:
    world.seed()
    world.host().process().get()
    asked = world.host("web-1" if cached else "web-2").process()
    assert asked.get(force=True) == "ticket-2"
    assert world.host("web-1").process().get(force=True) == "ticket-2" if not cached else True
    assert world.published() == "ticket-2"


def test_force_takes_what_another_host_has_got_meanwhile(world: World) -> None:
    """Another ticket than the caller's own is what was asked for."""
    world.seed()
    world.host("web-1").process().get()
    world.host("web-2").process().get(force=True)
    forced = world.host("web-1").process()
    assert forced.get(force=True) == "ticket-2"
    assert world.server.refreshes == 2


# -- I3: a usable ticket, whatever fails


@pytest.mark.parametrize("left", [700, 60, 3])
@pytest.mark.parametrize("where", ["cache", "vault"])
@pytest.mark.parametrize("problem", ["endpoint", "dead", "busy", "in doubt", "no grant", "not a grant"])
def test_whatever_fails_at_the_endpoint_or_the_grant_a_usable_ticket_is_handed_out(
    world: World, left: float, where: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.seed()
    one = world.host().process()
    if where == "cache":
        one.get()
        world.wait(3599 - left)
    else:
        world.put_ticket(left=left, token="ticket-1")
    one.endpoint.next = {
        "endpoint": [Fault("unreachable")] * 99,
        "busy": [Fault("busy", retry_after=600)],
        "in doubt": [Fault("lost"), Fault("lost")],
    }.get(problem, [])
    if problem == "dead":
        world.server.revoke("a-1")
    if problem == "no grant":
        world.vault.delete(PROFILE.grant)
    if problem == "not a grant":
        world.edit(refresh_token=7)
    before = world.time.now
    if left > 10 or problem != "endpoint":
        assert one.get() == "ticket-1"
        assert caplog.records[-1].levelno == logging.WARNING
        assert "this ticket is good until" in caplog.text
        assert world.time.now - before < left
    else:  # the tries took longer than it was good for
        with pytest.raises(EndpointUnavailable):
            one.get()


@pytest.mark.parametrize("left", [3500, 700, 60])
def test_with_vault_away_a_cached_ticket_is_handed_out_without_long_waiting(world: World, left: float) -> None:
    world.seed()
    world.host().process().get()
    world.wait(3599 - left)
    one, before = sealed(world.host().process(), SOFT_PATIENCE), world.time.now
    assert one.get() == "ticket-1"
    assert world.time.now - before <= SOFT_PATIENCE


def test_a_ticket_that_ran_out_while_vault_was_asked_is_not_handed_out(world: World) -> None:
    world.seed()
    world.host().process().get()
    world.wait(3599 - 2.5)
    with pytest.raises(VaultUnreachable):
        sealed(world.host().process(), SOFT_PATIENCE).get()


def test_nobody_is_handed_an_expired_ticket(world: World) -> None:
    world.seed()
    world.host().process().get()
    world.wait(3598.5)
    with pytest.raises(VaultUnreachable):
        sealed(world.host().process()).get()


def test_a_host_whose_clock_was_set_back_trusts_its_cache_no_more(world: World) -> None:
    world.seed()
    host = world.host()
    host.process().get()
    host.clock.skew = -3600
    one = host.process()
    assert one.get() == "ticket-1"
    assert one.store.calls == [("read", TICKET)]


def test_of_two_usable_tickets_the_longer_one_is_handed_out(world: World) -> None:
    world.seed()
    world.host().process().get()
    world.wait(2800)
    world.put_ticket(left=100, token="the-shorter-one")
    one = world.host().process()
    one.endpoint.next = [Fault("unreachable")] * 99
    assert one.get() == "ticket-1"


# -- the cooldown


def test_after_a_failure_nobody_here_asks_again_at_once(world: World) -> None:
    world.seed()
    world.server.revoke("a-1")
    with pytest.raises(GrantRejected):
        world.host().process().get()
    again = world.host().process()
    with pytest.raises(GrantRejected, match="not valid") as caught:
        again.get()
    assert again.store.calls == []
    assert "--force" in caught.value.hint
    assert caught.value.exit_code == 77


def test_the_cooldown_grows_from_one_second_to_sixty(world: World) -> None:
    world.vault.write(PROFILE.grant, {"refresh_token": 7})
    host = world.host()
    spans = []
    for _ in range(12):
        with pytest.raises(StoredDataInvalid):
            host.process().get()
        failure = host.process().cache.failure()
        assert failure is not None
        assert failure.remembered_for is not None
        spans.append(failure.remembered_for)
        world.wait(failure.remembered_for + 0.01)
    assert COOLDOWN_INITIAL / 2 <= spans[0] <= COOLDOWN_INITIAL
    assert all(2**n / 2 <= span <= 2**n for n, span in enumerate(spans[:6]))
    assert all(COOLDOWN_MAX / 2 <= span <= COOLDOWN_MAX for span in spans[6:])


def test_in_the_cooldown_a_usable_ticket_is_handed_out_without_touching_vault(world: World) -> None:
    world.seed()
    world.host().process().get()
    world.wait(3000)
    one = world.host().process()
    one.endpoint.next = [Fault("unreachable")] * 99
    one.get()
    again = world.host().process()
    assert again.get() == "ticket-1"
    assert again.store.calls == []


def test_a_retry_after_lengthens_the_cooldown(world: World) -> None:
    world.seed()
    one = world.host().process()
    one.endpoint.next = [Fault("busy", retry_after=120)]
    with pytest.raises(EndpointUnavailable):
        one.get()
    world.wait(110)
    again = world.host().process()
    with pytest.raises(EndpointUnavailable):
        again.get()
    assert again.store.calls == []
    world.wait(15)
    assert world.host().process().get() == "ticket-1"


def test_force_overrides_the_cooldown(world: World) -> None:
    with pytest.raises(GrantMissing):
        world.host().process().get()
    world.seed()
    with pytest.raises(GrantMissing):
        world.host().process().get()
    assert world.host().process().get(force=True) == "ticket-1"


def test_a_success_ends_the_cooldown(world: World) -> None:
    with pytest.raises(GrantMissing):
        world.host().process().get()
    world.seed()
    world.wait(1)
    world.host().process().get()
    assert world.host().process().cache.failure() is None


# -- the journal goes first


def lose_vault_after_the_answer(world: World) -> None:
    """One run on web-1 whose rotated token only its journal has."""
    one = world.host().process()

    def answered(call: str, token: str) -> None:  # noqa: ARG001
        sealed(one)

    one.endpoint.after = answered
    assert one.get() == "ticket-1"
    assert len(world.host().waiting()) == 1


def test_a_waiting_journal_is_replayed_before_anything_is_spent(world: World) -> None:
    world.seed()
    lose_vault_after_the_answer(world)
    one = world.host().process()
    assert one.get(force=True) == "ticket-2"
    assert one.endpoint.seen == ["a-2"]
    assert (world.token, world.host().waiting(), world.server.reuses) == ("a-3", [], 0)


def test_a_fresh_cached_ticket_is_handed_out_and_the_journal_saved_afterwards(world: World) -> None:
    world.seed()
    lose_vault_after_the_answer(world)
    one = world.host().process()
    assert one.get() == "ticket-1"
    assert not [path for _call, path in one.store.calls if path == PROFILE.grant.path]
    one.issuer.save_what_waits(one.deadline())
    assert (world.token, world.host().waiting(), one.endpoint.seen) == ("a-2", [], [])


def test_while_vault_is_away_the_journal_waits_and_the_ticket_is_handed_out(world: World) -> None:
    world.seed()
    lose_vault_after_the_answer(world)
    assert sealed(world.host().process(), SOFT_PATIENCE).get() == "ticket-1"
    assert len(world.host().waiting()) == 1


def test_nothing_is_spent_while_the_journal_can_not_be_replayed(world: World) -> None:
    """Reading works, writing the grant does not."""
    world.seed()
    lose_vault_after_the_answer(world)
    world.host().forget()
    one = world.host().process()
    one.store.before = fail_once("write", SEALED, GRANT)
    with pytest.raises(VaultUnreachable):
        one.get()
    assert one.endpoint.seen == []
    assert len(world.host().waiting()) == 1


def test_a_re_seed_since_makes_the_journal_void(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.seed()
    lose_vault_after_the_answer(world)
    world.host().forget()
    world.seed()
    assert world.host().process().get() == "ticket-2"
    assert (world.token, world.host().waiting()) == ("b-2", [])
    assert "dropped" in caplog.text


def test_replaying_alone_is_what_any_other_command_does(world: World) -> None:
    world.seed()
    lose_vault_after_the_answer(world)
    one = world.host().process()
    one.issuer.replay(one.deadline())
    assert (world.token, world.host().waiting(), one.endpoint.seen) == ("a-2", [], [])


def test_another_host_that_meets_the_dead_token_names_the_host_with_the_journal(world: World) -> None:
    world.seed()
    lose_vault_after_the_answer(world)
    world.wait(20)
    with pytest.raises(GrantRejected, match="web-1") as caught:
        world.host("web-2").process().get()
    assert "journal" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{}", "no JSON", json.dumps({"where": 7, "refresh_token": "a"})])
def test_an_unreadable_journal_stops_spending_but_not_a_usable_ticket(world: World, text: str) -> None:
    """It may hold the only good token."""
    world.seed()
    host = world.host()
    host.process().get()
    host.runtime.write(f"{Secret('a-2').fingerprint()}-0123456789abcdef.journal", text or " ")
    assert host.process().get() == "ticket-1"
    world.wait(3599)
    one = host.process()
    with pytest.raises(StoredDataInvalid, match="journal"):
        one.get()
    assert one.endpoint.seen == []


def test_a_token_that_could_be_put_nowhere_is_74_and_stays_so_until_it_is_saved(world: World) -> None:
    world.seed()
    host = world.host()
    host.state.parent.mkdir(exist_ok=True)
    host.state.write_text("a file where the folder should be")
    one = host.process()

    def answered(call: str, token: str) -> None:  # noqa: ARG001
        sealed(one)

    one.endpoint.after = answered
    with pytest.raises(SaveFailed) as caught:
        one.get()
    assert caught.value.exit_code == 74
    world.wait(60)
    assert host.process().get() == "ticket-2"
    assert (world.token, host.waiting(), world.server.reuses) == ("a-3", [], 0)


# -- folders that can't be used


def test_without_a_cache_every_call_looks_at_vault(world: World) -> None:
    world.seed()
    host = world.host()
    for _ in range(2):
        process = host.process()
        issuer = replace(process.issuer, cache=replace(process.cache, tickets=False))
        assert issuer.ticket(Demand(), process.deadline()).ticket.access_token == Secret("ticket-1")
        assert process.store.calls[0] == ("read", TICKET)
    assert world.server.refreshes == 1


# -- where tickets are not cached, a remembered failure is only a reason not to ask the token endpoint


def uncached(world: World, name: str = "web-1") -> FakeProcess:
    """A process as `--no-cache` has it."""
    process = world.host(name).process()
    process.issuer = replace(process.issuer, cache=replace(process.cache, tickets=False))
    return process


def fail_at_the_endpoint(world: World, name: str = "web-1") -> None:
    one = uncached(world, name)
    one.endpoint.next = [Fault("busy", retry_after=600)]
    with pytest.raises(EndpointUnavailable):
        one.get()


@pytest.mark.parametrize("left", [3000, 700, 60])
def test_without_a_cache_a_remembered_failure_does_not_hide_a_usable_ticket(
    world: World, left: float, caplog: pytest.LogCaptureFixture
) -> None:
    world.seed()
    fail_at_the_endpoint(world)
    world.put_ticket(left=left)
    one = uncached(world)
    assert one.get() == "an-older-ticket"
    assert (one.store.calls, one.endpoint.seen) == ([("read", TICKET)], [])
    assert ("this ticket is good until" in caplog.text) == (left < 1200)


def test_without_a_cache_the_token_endpoint_is_not_asked_in_the_cooldown(world: World) -> None:
    """What was remembered is raised in place of a refresh, and lengthens no cooldown."""
    world.seed()
    fail_at_the_endpoint(world)
    before = uncached(world).issuer.cache.failure()
    one = uncached(world)
    with pytest.raises(EndpointUnavailable, match="busy") as caught:
        one.get()
    assert (one.store.calls, one.endpoint.seen) == ([("read", TICKET)], [])
    assert "--force" in caught.value.hint
    assert caught.value.hint.count("remembered") == 1
    after = one.issuer.cache.failure()
    assert before is not None
    assert after is not None
    assert before.remembered_for is not None
    assert after.remembered_for is not None
    assert 500 < after.remembered_for <= before.remembered_for
    world.put_ticket(left=60)
    assert uncached(world).get() == "an-older-ticket"
    again = one.issuer.cache.failure()
    assert again is not None
    assert again.remembered_for is not None
    assert 500 < again.remembered_for <= before.remembered_for


@pytest.mark.parametrize("kind", [VaultUnreachable, VaultDenied])
def test_without_a_cache_vaults_own_failure_is_not_asked_about_in_the_cooldown(
    world: World, kind: type[VaultTicketError]
) -> None:
    world.put_ticket(left=3000)
    one = uncached(world)
    one.issuer.cache.remember(kind("no", "Wait."))
    with pytest.raises(kind, match="no"):
        one.get()
    assert one.store.calls == []


def test_without_a_cache_force_asks_in_the_cooldown_too(world: World) -> None:
    world.seed()
    fail_at_the_endpoint(world)
    assert uncached(world).get(force=True) == "ticket-1"


def test_without_a_cache_what_fails_anew_in_the_cooldown_is_told_and_remembered(world: World) -> None:
    world.seed()
    fail_at_the_endpoint(world)
    with pytest.raises(VaultUnreachable):
        sealed(uncached(world)).get()
    failure = uncached(world).issuer.cache.failure()
    assert failure is not None
    assert isinstance(failure, VaultUnreachable)
