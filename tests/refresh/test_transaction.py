"""The refresh transaction, step by step: what each leaves in Vault, and what each failure leads to."""

import logging
from unittest.mock import patch

import pytest

from tests.fakes import CLIENT, Fault, fail_once
from tests.world import ALWAYS_NOTED, PROFILE, FakeProcess, World
from vault_ticket_plugin.clock import from_rfc3339
from vault_ticket_plugin.errors import (
    Busy,
    CasMismatch,
    ClientRejected,
    ConfigError,
    EndpointUnavailable,
    GrantMissing,
    GrantRejected,
    ProtocolError,
    SaveFailed,
    SpendInDoubt,
    StoredDataInvalid,
    VaultDenied,
    VaultTicketError,
    VaultUnreachable,
)
from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.model import Claim, Demand, Doubt, Rejection
from vault_ticket_plugin.refresh.transaction import LOOK_MAX
from vault_ticket_plugin.refresh.watch import MAX_JITTER, Watch, version_of
from vault_ticket_plugin.secret import Secret

GRANT, TICKET = PROFILE.grant.path, PROFILE.ticket.path
WEB_9 = "web-9 (pid 1)"


def claim_of_another(world: World, seconds: float = 15.0, token: str | None = None, lock: str = "") -> Claim:
    """A claim that a process on another host has just made."""
    fingerprint = Secret(token or world.token).fingerprint()
    claim = Claim("their-id", WEB_9, seconds, fingerprint, float(int(world.time.now)), lock)
    world.note(claim=claim)
    return claim


def dead_claim(world: World, one: FakeProcess, token: str | None = None) -> None:
    """The same, and this process's host has watched it for longer than it lasts."""
    claim_of_another(world, token=token)
    one.watches.keep(Watch(version_of(world.grant()), one.host.clock.monotonic() - 1000))


def process(world: World, host: str = "web-1") -> FakeProcess:
    return world.host(host).process()


# -- the steps


def test_claim_spend_save_publish_and_release_come_in_this_order(world: World) -> None:
    """The journal has the token before Vault does, and no longer."""
    world.seed()
    world.server.lifetime = 600  # another than before
    process(world).refresh()
    world.server.lifetime = 3600
    one = process(world)
    journal: list[tuple[str, int]] = []

    def watch(call: str, path: str) -> None:
        journal.append((f"{call} {path.rpartition('/')[2]}", len(world.host().waiting())))

    one.store.before, one.endpoint.before = watch, watch
    one.refresh(demand=Demand(min_ttl=1200))
    assert journal == [
        ("read token", 0),
        ("read grant", 0),
        ("write grant", 0),  # claim
        ("spend a-2", 0),
        ("write grant", 1),  # save
        ("expire token", 0),
        ("write token", 0),  # publish
        ("write grant", 0),  # release
    ]


def test_the_claim_names_its_holder_its_beginning_its_end_and_the_token(world: World) -> None:
    token = world.seed()
    one = process(world)
    claims = []
    one.endpoint.before = lambda _call, _token: claims.append(world.grant().notes.claim)
    one.refresh()
    claim = claims[0]
    assert claim is not None
    assert (claim.holder, claim.fingerprint) == (one.holder, Secret(token).fingerprint())
    assert claim.seconds == PROFILE.request_timeout + 7
    assert claim.at is not None
    assert abs(claim.at - world.time.now) <= 2


def test_afterwards_the_grant_has_the_rotated_token_and_who_refreshed_it_and_no_claim(world: World) -> None:
    world.seed(owner="team")
    one = process(world)
    ticket = one.refresh()
    assert world.token == "a-2"
    assert world.document()["owner"] == "team"
    refreshed = world.grant().notes.refreshed
    assert refreshed is not None
    assert (refreshed.holder, refreshed.ticket) == (one.holder, Secret(ticket).fingerprint())
    assert set(world.notes()) == {"refreshed", "rotated", *ALWAYS_NOTED}
    assert world.published() == ticket
    assert world.host().waiting() == []


def test_a_server_that_does_not_rotate_needs_no_save(world: World) -> None:
    world.server.rotate = False
    token = world.seed()
    one = process(world)
    one.refresh()
    assert [call for call in one.store.calls if call == ("write", GRANT)] == [("write", GRANT)] * 2
    assert world.token == token


def test_the_clients_id_is_the_profiles_else_the_grants(world: World) -> None:
    world.seed(client_id=CLIENT)
    bare = world.host().process(PROFILE._replace(client_id=None))
    assert bare.refresh() == "ticket-1"
    world.seed(client_id="another")
    assert process(world).refresh(demand=Demand(unwanted=Secret("ticket-1"))) == "ticket-2"


# -- the second look


def test_no_second_look_where_the_last_holder_noted_the_ticket_that_we_saw(world: World) -> None:
    world.seed()
    process(world).refresh()
    one = process(world)
    one.refresh(demand=Demand(force=True, unwanted=Secret("ticket-1")))
    reads = [path for call, path in one.store.calls if call == "read"]
    assert reads == [TICKET, GRANT]


def test_what_another_published_since_our_first_look_is_found_and_not_spent_again(world: World) -> None:
    world.seed()
    one, other = process(world), process(world, "web-2")

    def meanwhile(call: str, path: str) -> None:
        if (call, path) == ("read", GRANT) and not other.store.calls:
            other.refresh()

    one.store.before = meanwhile
    assert one.refresh() == "ticket-1"
    assert world.server.refreshes == 1
    assert world.grant().notes.claim is None


def test_after_a_re_seed_there_is_always_a_second_look(world: World) -> None:
    """`store` writes the grant first and publishes the ticket that proved it then; nothing in the grant tells of it."""
    token = world.server.issue()
    world.seed("x-1")
    one, person = process(world), process(world, "desk")

    def meanwhile(call: str, path: str) -> None:
        if (call, path) == ("read", GRANT) and not person.store.calls:
            person.store_token(token)

    one.store.before = meanwhile
    assert one.refresh() == "ticket-1"
    assert world.server.refreshes == 1


def test_who_takes_over_from_a_holder_that_published_and_died_leaves_no_note_that_hides_it(world: World) -> None:
    """A third holder, whose look at the leased path is older still, must not spend again."""
    world.seed()
    assert process(world).refresh() == "ticket-1"
    older, over = process(world, "web-2"), process(world, "web-3")
    unwanted = Demand(force=True, unwanted=Secret("ticket-1"))

    def meanwhile(call: str, path: str) -> None:
        if (call, path) == ("read", GRANT) and not over.store.calls:
            ended = Claim("their-id", WEB_9, 15.0, "another-token")
            world.note(claim=ended, refreshed=world.grant().notes.refreshed)
            over.watches.keep(Watch(version_of(world.grant()), over.host.clock.monotonic() - 1000))
            world.put_ticket(left=3600, token="theirs")
            assert over.refresh(demand=unwanted) == "theirs"
            assert over.store.calls.count(("write", GRANT)) == 2  # it took the claim over and gave it back

    older.store.before = meanwhile
    assert older.refresh(demand=unwanted) == "theirs"
    assert world.server.refreshes == 1


def test_after_a_holder_that_never_released_there_is_always_a_second_look(world: World) -> None:
    """It may have published and died."""
    world.seed("x-1")
    one = process(world)
    dead_claim(world, one, token="the-one-before")

    def meanwhile(call: str, path: str) -> None:
        if (call, path) == ("read", GRANT):
            world.put_ticket(left=3600, token="theirs")

    one.store.before = meanwhile
    assert one.refresh() == "theirs"
    assert world.server.tickets == 0


def test_a_second_look_that_finds_a_ticket_keeps_what_was_noted(world: World) -> None:
    """Nothing was spent, so what is known of the token still holds."""
    token = world.seed()
    rejection = Rejection("another-fingerprint", "invalid_grant", world.time.now, WEB_9)
    doubt = Doubt(Secret(token).fingerprint(), WEB_9, float(int(world.time.now)))
    claim = Claim("id", "web-8", 15.0, "another-fingerprint")
    world.note(claim=claim, doubt=doubt, rejection=rejection)
    one = process(world)
    one.watches.keep(Watch(version_of(world.grant()), one.host.clock.monotonic() - 1000))

    def meanwhile(call: str, path: str) -> None:
        if (call, path) == ("read", GRANT):
            world.put_ticket(left=3600, token="theirs")

    one.store.before = meanwhile
    assert one.refresh() == "theirs"
    grant = world.grant()
    assert (grant.notes.claim, grant.notes.doubt) == (None, doubt)
    assert grant.notes.rejection is not None


# -- other holders


def test_another_holders_claim_is_waited_for_and_its_ticket_used(world: World) -> None:
    world.seed()
    claim_of_another(world)
    one = process(world)
    looks = 0

    def meanwhile(call: str, path: str) -> None:
        nonlocal looks
        looks += (call, path) == ("read", TICKET)
        if looks == 4:
            world.put_ticket(left=3600, token="theirs")

    one.store.before = meanwhile
    assert one.refresh() == "theirs"
    assert world.server.tickets == 0
    assert ("write", GRANT) not in one.store.calls


def test_a_dead_holder_is_waited_for_no_longer_than_its_claim(world: World) -> None:
    world.seed()
    world.server.grace = 60
    claim, began = claim_of_another(world, seconds=10), world.time.now
    one = process(world)
    spent_at = []
    one.endpoint.before = lambda _call, _token: spent_at.append(world.time.now)
    assert one.refresh() == "ticket-1"
    assert claim.seconds <= spent_at[0] - began <= claim.seconds + MAX_JITTER + LOOK_MAX + 1


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_a_claims_age_is_judged_by_no_wall_clock(world: World, skew: float) -> None:
    """A host whose clock is an hour off neither takes a running claim nor waits an hour for a dead one."""
    world.seed()
    claim, began = claim_of_another(world, seconds=10), world.time.now
    one = world.host("web-1", skew).process()
    spent_at = []
    one.endpoint.before = lambda _call, _token: spent_at.append(world.time.now)
    one.refresh()
    assert claim.seconds <= spent_at[0] - began <= claim.seconds + MAX_JITTER + LOOK_MAX + 1
    assert world.grant().notes.refreshed is not None


def test_without_patience_nobody_is_waited_for(world: World) -> None:
    world.seed()
    claim_of_another(world)
    one, before = process(world), world.time.now
    with pytest.raises(Busy, match="web-9"):
        one.refresh(patient=False)
    assert world.time.now == before


def test_patience_ends_with_the_callers_deadline(world: World) -> None:
    world.seed()
    claim_of_another(world, seconds=1000)
    one, before = process(world), world.time.now
    with pytest.raises(Busy, match="web-9") as caught:
        one.refresh(timeout=5)
    assert caught.value.exit_code == 75
    assert world.time.now <= before + 5
    assert world.server.tickets == 0


@pytest.mark.parametrize("patient", [True, False])
def test_a_claim_whose_answer_was_lost_is_known_as_our_own(world: World, patient: bool) -> None:
    """The write is tried again and then fails on itself; in the soft window that must not leave a dead claim."""
    world.seed()
    one = process(world)
    one.store.after = fail_once("write", CasMismatch("its answer was lost"), GRANT)
    assert one.refresh(patient=patient) == "ticket-1"
    assert world.grant().notes.claim is None
    assert world.server.refreshes == 1


@pytest.mark.parametrize("patient", [True, False])
def test_an_edit_between_reading_and_claiming_is_kept(world: World, patient: bool) -> None:
    world.seed()
    one = process(world)
    edited = False

    def edit(call: str, path: str) -> None:
        nonlocal edited
        if (call, path) == ("write", GRANT) and not edited:
            edited = True
            world.edit(owner="team")

    one.store.before = edit
    assert one.refresh(patient=patient) == "ticket-1"
    assert (world.document()["owner"], world.token) == ("team", "a-2")


@pytest.mark.parametrize("step", [2, 3])
def test_an_edit_between_two_of_our_writes_is_kept(world: World, step: int) -> None:
    """Before the save (2) and before the release (3)."""
    world.seed()
    one = process(world)
    writes = 0

    def edit(call: str, path: str) -> None:
        nonlocal writes
        if (call, path) == ("write", GRANT):
            writes += 1
            if writes == step:
                world.edit(owner="team")

    one.store.before = edit
    assert one.refresh() == "ticket-1"
    assert (world.document()["owner"], world.token) == ("team", "a-2")
    assert world.grant().notes.claim is None
    assert world.grant().notes.refreshed is not None


def test_a_stale_standby_can_not_make_us_spend_a_rotated_token(world: World) -> None:
    """Check-and-set is judged by the leader; the token that the standby showed is never sent."""
    world.seed()
    process(world).refresh()
    one = process(world, "web-2")
    one.store.behind = 3

    def catch_up(call: str, path: str) -> None:
        if (call, path) == ("write", GRANT):
            one.store.behind = 0

    one.store.before = catch_up
    assert one.refresh(demand=Demand(force=True, unwanted=Secret("ticket-1"))) == "ticket-2"
    assert one.endpoint.seen == ["a-2"]
    assert world.server.reuses == 0


# -- a person stores the grant anew


@pytest.mark.parametrize("where", ["claim", "spend", "save", "publish", "release"])
def test_a_persons_re_seed_wins_at_every_step(world: World, where: str) -> None:
    """I5. The caller gets a ticket all the same, and the next refresh spends what the person put there."""
    world.seed()
    one = process(world)
    at = {
        "claim": ("write", GRANT, 1),
        "save": ("write", GRANT, 2),
        "publish": ("write", TICKET, 1),
        "release": ("write", GRANT, 3),
    }
    seen = 0

    def seed(call: str, path: str) -> None:
        nonlocal seen
        wanted = at.get(where)
        seen += wanted is not None and (call, path) == wanted[:2]
        if call == "spend" or (wanted is not None and seen == wanted[2] and (call, path) == wanted[:2]):
            (one.endpoint if call == "spend" else one.store).before = lambda _call, _path: None
            world.seed("b-1" if where == "spend" else world.server.issue())

    if where == "spend":
        world.server.issue()
        one.endpoint.before = seed
    else:
        one.store.before = seed
    assert one.refresh().startswith("ticket-")
    assert world.token in {"b-1", "b-2"}  # claimed after the re-seed, theirs was spent and rotated
    assert world.grant().notes.claim is None
    assert world.host().waiting() == []
    assert world.server.current(world.token)
    assert world.server.reuses == 0


def test_after_a_re_seed_in_flight_the_ticket_is_for_its_caller_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It came of the grant that the person replaced: it is neither published nor shared."""
    world.seed()
    one = process(world)

    def seed(call: str, token: str) -> None:  # noqa: ARG001
        world.seed("b-1")

    one.endpoint.after = seed
    assert one.refresh() == "ticket-1"
    assert world.published() is None
    assert world.document() == {"refresh_token": "b-1"}
    assert "stored anew" in caplog.text


def test_a_token_that_turns_out_dead_while_a_person_stores_another_is_tried_no_more(world: World) -> None:
    """The refresh begins anew with theirs."""
    world.seed()
    world.server.revoke("a-1")
    world.server.issue()
    one = process(world)

    def seed(call: str, token: str) -> None:  # noqa: ARG001
        if token == "a-1":
            world.seed("b-1")

    one.endpoint.before = seed
    assert one.refresh() == "ticket-1"
    assert one.endpoint.seen == ["a-1", "b-1"]
    assert world.grant().notes.rejection is None
    assert world.token == "b-2"


def test_a_patch_of_the_token_that_leaves_our_notes_in_wins_too(world: World) -> None:
    """`bao kv patch refresh_token=…`: what was found out of the old token is not said of the new one."""
    world.seed()
    world.server.revoke("a-1")
    world.server.issue()
    one = process(world)

    def patch(call: str, token: str) -> None:  # noqa: ARG001
        if token == "a-1":
            world.edit(refresh_token="b-1")

    one.endpoint.before = patch
    assert one.refresh() == "ticket-1"
    assert world.grant().notes.rejection is None
    assert world.token == "b-2"


# -- the endpoint says no


def test_a_dead_token_is_latched_for_every_host(world: World) -> None:
    world.seed()
    world.server.revoke("a-1")
    with pytest.raises(GrantRejected):
        process(world).refresh()
    other = process(world, "web-2")
    with pytest.raises(GrantRejected, match="web-1"):
        other.refresh()
    assert other.endpoint.seen == []
    assert world.grant().notes.claim is None
    assert world.token == "a-1"


def test_a_refused_client_is_latched_until_the_client_is_corrected(world: World) -> None:
    world.seed(client_id="wrong")
    by_grant = PROFILE._replace(client_id=None)
    with pytest.raises(ClientRejected):
        world.host().process(by_grant).refresh()
    again = world.host().process(by_grant)
    with pytest.raises(ClientRejected):
        again.refresh()
    assert again.endpoint.seen == []
    world.edit(client_id=CLIENT)
    assert world.host().process(by_grant).refresh() == "ticket-1"
    assert world.grant().notes.rejection is None


def test_a_re_seed_clears_the_latch(world: World) -> None:
    world.seed()
    world.server.revoke("a-1")
    with pytest.raises(GrantRejected):
        process(world).refresh()
    world.edit(refresh_token=world.server.issue())
    assert process(world, "web-2").refresh() == "ticket-1"
    assert world.grant().notes.rejection is None


def test_force_asks_again_what_is_latched(world: World) -> None:
    world.seed()
    world.server.revoke("a-1")
    with pytest.raises(GrantRejected):
        process(world).refresh()
    world.server.family("a-1").revoked = False
    assert process(world).refresh(demand=Demand(force=True)) == "ticket-1"
    assert world.grant().notes.rejection is None


def test_a_forced_try_that_does_not_get_through_keeps_the_latch(world: World) -> None:
    world.seed()
    world.server.revoke("a-1")
    with pytest.raises(GrantRejected):
        process(world).refresh()
    one = process(world)
    one.endpoint.next = [Fault("unreachable")] * 99
    with pytest.raises(EndpointUnavailable):
        one.refresh(demand=Demand(force=True))
    assert world.grant().notes.rejection is not None


# -- the endpoint is away


def test_what_was_not_spent_is_tried_again_within_the_request_time(world: World) -> None:
    world.seed()
    one = process(world)
    one.endpoint.next = [Fault("unreachable"), Fault("busy"), Fault("unreachable")]
    assert one.refresh() == "ticket-1"


def test_a_server_that_stays_away_leaves_no_doubt_and_no_claim(world: World) -> None:
    world.seed()
    one, before = process(world), world.time.now
    one.endpoint.next = [Fault("unreachable")] * 99
    with pytest.raises(EndpointUnavailable) as caught:
        one.refresh()
    assert not isinstance(caught.value, SpendInDoubt)
    assert set(world.notes()) == ALWAYS_NOTED
    assert world.time.now - before <= PROFILE.request_timeout


def test_no_try_begins_when_little_of_the_time_is_left(world: World) -> None:
    """It might be sent and then cut short, and what the token was rotated to would be lost with the answer."""
    world.seed()
    one = process(world)
    one.endpoint.next = [Fault("unreachable")] * 99
    began: list[float] = []
    one.endpoint.before = lambda _call, _path: began.append(world.time.now)
    with pytest.raises(EndpointUnavailable):
        one.refresh()
    assert len(began) > 2
    assert began[-1] - began[0] <= PROFILE.request_timeout * 0.75


def test_a_short_retry_after_is_waited_out(world: World) -> None:
    world.seed()
    one, before = process(world), world.time.now
    one.endpoint.next = [Fault("busy", retry_after=3)]
    assert one.refresh() == "ticket-1"
    assert world.time.now - before >= 3


def test_a_retry_after_that_leaves_no_time_for_another_try_is_not_waited_out(world: World) -> None:
    world.seed()
    one, before = process(world), world.time.now
    one.endpoint.next = [Fault("busy", retry_after=PROFILE.request_timeout * 0.9)]
    with pytest.raises(EndpointUnavailable):
        one.refresh()
    assert world.time.now == before


def test_a_long_retry_after_is_kept_for_every_host(world: World) -> None:
    world.seed()
    one, began = process(world), world.time.now
    one.endpoint.next = [Fault("busy", retry_after=300)]
    with pytest.raises(EndpointUnavailable):
        one.refresh()
    assert 299 <= from_rfc3339(world.notes()["not_before"]) - began <= 310
    other = process(world, "web-2")
    with pytest.raises(EndpointUnavailable, match="asked for a pause"):
        other.refresh()
    assert other.endpoint.seen == []
    world.wait(310)
    assert process(world, "web-2").refresh() == "ticket-1"


def test_force_does_not_mind_a_pause(world: World) -> None:
    world.seed()
    world.note(not_before=world.time.now + 300)
    assert process(world).refresh(demand=Demand(force=True)) == "ticket-1"


# -- the answer is lost


def test_a_lost_answer_is_asked_for_once_more(world: World) -> None:
    """A server with a grace gives the same pair again."""
    world.server.grace = 60
    world.seed()
    one = process(world)
    one.endpoint.next = [Fault("lost", processed=True)]
    assert one.refresh() == "ticket-2"
    assert (world.token, world.server.repeats, world.server.reuses) == ("a-2", 1, 0)
    assert world.grant().notes.doubt is None


def test_a_second_lost_answer_is_left_in_doubt(world: World) -> None:
    world.server.grace = 60
    world.seed()
    one = process(world)
    one.endpoint.next = [Fault("lost", processed=True), Fault("lost", processed=True)]
    with pytest.raises(SpendInDoubt):
        one.refresh()
    assert len(one.endpoint.seen) == 2
    grant = world.grant()
    assert grant.notes.claim is None
    assert grant.notes.doubt is not None
    assert (grant.notes.doubt.holder, grant.notes.doubt.fingerprint) == (one.holder, Secret("a-1").fingerprint())


def test_with_no_grace_configured_a_lost_answer_is_not_asked_for_again(world: World) -> None:
    world.seed()
    one = world.host().process(PROFILE._replace(reuse_grace=0.0))
    one.endpoint.next = [Fault("lost", processed=True)]
    with pytest.raises(SpendInDoubt):
        one.refresh()
    assert one.endpoint.seen == ["a-1"]
    assert world.server.reuses == 0


def test_the_next_holder_gets_the_same_pair_from_a_server_with_a_grace(world: World) -> None:
    world.server.grace = 60
    world.seed()
    one = process(world)
    one.endpoint.next = [Fault("lost", processed=True), Fault("lost", processed=True)]
    with pytest.raises(SpendInDoubt):
        one.refresh()
    assert process(world, "web-2").refresh() == "ticket-3"
    assert (world.token, world.grant().notes.doubt, world.server.reuses) == ("a-2", None, 0)


def test_the_next_holder_says_precisely_who_lost_the_answer(world: World) -> None:
    """The declared case: the server has no grace, so its second use is a reuse, and the grant is dead."""
    world.seed()
    one = world.host().process(PROFILE._replace(reuse_grace=0.0))
    one.endpoint.next = [Fault("lost", processed=True)]
    with pytest.raises(SpendInDoubt):
        one.refresh()
    with pytest.raises(
        GrantRejected, match=r"web-1 \(pid 1\) spent it, or the one before it, at .* and its answer was lost"
    ) as caught:
        process(world, "web-2").refresh()
    assert caught.value.exit_code == 77
    assert "journal" in caught.value.hint
    assert world.server.reuses == 1
    with pytest.raises(GrantRejected, match=r"web-1 \(pid 1\) spent it") as latched:
        process(world, "web-3").refresh()
    assert "web-2" in str(latched.value)


def test_a_token_that_our_own_second_try_found_dead_is_latched_with_its_cause(world: World) -> None:
    """We have lost the answer ourselves, and then been refused: every host is told why."""
    world.seed()
    one = process(world)
    one.endpoint.next = [Fault("lost", processed=True)]
    with pytest.raises(GrantRejected, match=r"web-1 \(pid 1\) .* its answer was lost"):
        one.refresh()
    with pytest.raises(GrantRejected, match=r"web-1 \(pid 1\) .* its answer was lost .*not asked again"):
        process(world, "web-2").refresh()


def test_a_doubt_stays_with_who_had_it_first(world: World) -> None:
    """The grace counts from there."""
    world.seed()
    first, second = process(world), process(world, "web-2")
    for one in (first, second):
        one.endpoint.next = [Fault("lost"), Fault("lost")]
        with pytest.raises(SpendInDoubt):
            one.refresh()
    doubt = world.grant().notes.doubt
    assert doubt is not None
    assert doubt.holder == first.holder


def test_a_holder_that_died_is_in_doubt_by_its_claim(world: World) -> None:
    world.seed()
    world.server.refresh("a-1", CLIENT)  # what the dead one did
    one = process(world)
    dead_claim(world, one)
    with pytest.raises(GrantRejected, match="web-9"):
        one.refresh()


@pytest.mark.parametrize("fault", [Fault("not_oauth"), Fault("not_oauth", processed=True)])
def test_what_is_not_oauth_leaves_a_doubt(world: World, fault: Fault) -> None:
    """A captive portal's page, or a proxy's over an answer that was given."""
    world.seed()
    one = process(world)
    one.endpoint.next = [fault]
    with pytest.raises(ProtocolError):
        one.refresh()
    grant = world.grant()
    assert grant.notes.claim is None
    assert grant.notes.doubt is not None
    assert grant.notes.doubt.holder == one.holder


def test_an_answer_without_a_ticket_does_not_lose_the_token_that_came_with_it(world: World) -> None:
    world.seed()
    one = process(world)
    one.endpoint.next = [Fault("no_ticket", processed=True)]
    with pytest.raises(ProtocolError):
        one.refresh()
    assert (world.token, world.grant().notes.claim) == ("a-2", None)
    assert process(world).refresh() == "ticket-2"


# -- Vault goes away


def away(world: World, one: FakeProcess) -> None:
    """From the moment that the answer is read, nothing at Vault succeeds."""

    def gone(call: str, path: str) -> None:  # noqa: ARG001
        world.wait(1)
        raise VaultUnreachable("Vault at https://vault.test is sealed", "Unseal it, then try again.")

    def answered(call: str, token: str) -> None:  # noqa: ARG001
        one.store.before = gone

    one.endpoint.after = answered


def test_where_vault_can_not_take_the_token_the_disk_does(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The caller has its ticket, and a loud line; the claim stays, so that others know whom to ask."""
    world.seed()
    host = world.host()
    one = host.process()
    away(world, one)
    assert one.refresh() == "ticket-1"
    assert [entry.refresh_token for entry in host.waiting()] == [Secret("a-2")]
    assert host.runtime.names() == []
    (kept,) = host.state.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert host.state.stat().st_mode & 0o777 == 0o700
    assert str(kept) in caplog.text
    assert "sealed" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING
    assert "a-2" not in caplog.text
    assert world.grant().notes.claim is not None
    assert world.published() is None


def test_where_neither_vault_nor_the_disk_takes_the_token_it_is_said_loudly(world: World) -> None:
    """74. The journal in memory has it still, as long as the host runs."""
    world.seed()
    host = world.host()
    host.state.parent.mkdir(exist_ok=True)
    host.state.write_text("a file where the folder should be")
    one = host.process()
    away(world, one)
    with pytest.raises(SaveFailed) as caught:
        one.refresh()
    assert caught.value.exit_code == 74
    assert str(host.runtime.path) in caught.value.hint
    assert [entry.refresh_token for entry in host.waiting()] == [Secret("a-2")]
    host.state.unlink()


def test_a_journal_that_can_not_be_removed_fails_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Vault has the token; the entry is found to be saved, or void, by whoever replays it."""
    world.seed()
    one = process(world)
    with patch.object(Folder, "remove", side_effect=OSError(30, "Read-only file system")):
        assert one.refresh() == "ticket-1"
    assert "Read-only file system" in caplog.text
    assert len(world.host().waiting()) == 1
    assert process(world).get(force=True) == "ticket-2"
    assert (world.token, world.host().waiting(), world.server.reuses) == ("a-3", [], 0)


def test_a_ticket_that_can_not_be_published_is_handed_out(world: World) -> None:
    world.seed()
    one = process(world)
    one.store.before = fail_once("expire", VaultDenied("Vault denies POST", ""))
    assert one.refresh() == "ticket-1"
    assert (world.token, world.grant().notes.claim, world.published()) == ("a-2", None, None)
    assert process(world, "web-2").refresh() == "ticket-2"


def test_a_claim_that_can_not_be_given_back_ends_by_itself(world: World) -> None:
    world.seed()
    one = process(world)
    one.store.before = fail_once("write", VaultUnreachable("sealed"), GRANT, skip=2)
    assert one.refresh() == "ticket-1"
    assert world.grant().notes.claim is not None
    assert process(world, "web-2").refresh(demand=Demand(force=True, unwanted=Secret("ticket-1"))) == "ticket-2"
    assert world.server.reuses == 0


def slowly(world: World, one: FakeProcess, what: tuple[str, str]) -> None:
    """From its claim on, Vault takes longer for the first such call than the claim leaves for it."""

    def after(call: str, path: str) -> None:
        if (call, path) == what and world.grant().notes.claim is not None:
            one.store.after = lambda _call, _path: None
            world.wait(PROFILE.claim_seconds - PROFILE.request_timeout + 1)

    one.store.after = after


def test_a_claim_that_vault_took_too_slowly_is_made_anew(world: World) -> None:
    """Else another holder could claim before our request is over."""
    world.seed()
    one = process(world)
    slowly(world, one, ("write", GRANT))
    ages: list[float] = []

    def before(_call: str, _token: str) -> None:
        written = world.grant().created_at
        assert written is not None
        ages.append(world.time.now - written)

    one.endpoint.before = before
    assert one.refresh() == "ticket-1"
    assert ages[0] < 1


def test_nothing_is_spent_where_too_little_of_the_claim_is_left(world: World) -> None:
    """The look between the claim and the spend took too long."""
    world.seed()
    one = process(world)
    slowly(world, one, ("read", TICKET))

    with pytest.raises(VaultUnreachable):
        one.refresh()
    assert one.endpoint.seen == []


def test_a_late_save_takes_no_claim_from_the_holder_after_us(world: World) -> None:
    """Our claim ran out while we saved, and another host has one by now: it is not ours to give back."""
    world.seed()
    one = process(world)

    def takeover(call: str, path: str) -> None:
        if (call, path) == ("write", GRANT) and one.endpoint.seen:
            one.store.before = lambda _call, _path: None
            claim_of_another(world)

    one.store.before = takeover
    assert one.refresh() == "ticket-1"
    grant = world.grant()
    assert grant.notes.claim is not None
    assert (grant.notes.claim.holder, world.token) == (WEB_9, "a-2")


@pytest.mark.parametrize("problem", [VaultUnreachable("sealed"), VaultDenied("Vault denies POST")])
def test_where_the_claim_can_not_be_written_nothing_is_spent(world: World, problem: VaultTicketError) -> None:
    """The token that a rotation would bring could not be saved either."""
    world.seed()
    one = process(world)

    def fail(call: str, path: str) -> None:
        if (call, path) == ("write", GRANT):
            raise problem

    one.store.before = fail
    with pytest.raises(type(problem)):
        one.refresh()
    assert one.endpoint.seen == []


# -- what is stored is not as it should be


def test_without_a_grant_nothing_is_done(world: World) -> None:
    with pytest.raises(GrantMissing):
        process(world).refresh()
    assert world.vault.read(PROFILE.grant).version == 0


def test_a_grant_that_is_none_is_not_touched(world: World) -> None:
    world.vault.write(PROFILE.grant, {"refresh_token": 7})
    with pytest.raises(StoredDataInvalid):
        process(world).refresh()
    assert world.vault.read(PROFILE.grant).version == 1


def test_where_the_client_id_is_missing_the_claim_is_given_back_and_nothing_is_in_doubt(world: World) -> None:
    world.seed()
    one = process(world)
    one.endpoint.before = fail_once("spend", ConfigError("profile support has no Client ID"))
    with pytest.raises(ConfigError):
        one.refresh()
    assert world.grant().notes.claim is None
    assert world.grant().notes.doubt is None
