"""What an earlier run could not save: where it goes, what it may overwrite, and what it forbids meanwhile."""

import json
import logging
import shutil
from typing import Literal
from unittest.mock import patch

import pytest

from tests.fakes import CLIENT, fail_once
from tests.world import ADDRESS, PROFILE, SEALED, FakeHost, FakeProcess, World
from vault_ticket_plugin.errors import CasMismatch, GrantMissing, StoredDataInvalid, VaultDenied, VaultUnreachable
from vault_ticket_plugin.model import Claim, ClientIdentity, Demand, Doubt, Location
from vault_ticket_plugin.refresh import grant_document
from vault_ticket_plugin.refresh.journal import Journal
from vault_ticket_plugin.refresh.journal_entry import Entry, text_of
from vault_ticket_plugin.refresh.watch import MAX_JITTER
from vault_ticket_plugin.secret import Secret

ELSEWHERE = ADDRESS._replace(key="fedcba9876543210", server="https://127.0.0.1:8200")  # the same, written otherwise


def entry(
    world: World,
    spent: str = "a-1",
    token: str = "a-2",
    kind: Literal["rotation", "seed"] = "rotation",
    version: int = 1,
) -> Entry:
    return Entry(
        kind=kind,
        profile=PROFILE.name,
        grant=ADDRESS.key,
        where=PROFILE.grant,
        spent=Secret(spent).fingerprint(),
        refresh_token=Secret(token),
        client=ClientIdentity(CLIENT) if kind == "seed" else None,
        at=world.time.now,
        version=version,
        document=ADDRESS.document,
        server=ADDRESS.server,
    )


def settle(world: World, *entries: Entry, process: FakeProcess | None = None, seconds: float = 20.0) -> bool:
    """Whether nothing waits any more."""
    one = process or world.host().process()
    for each in entries:
        one.host.journal.write(each)
    one.transaction.settle(one.deadline(seconds))
    return not one.host.waiting()


def lose_vault_after_the_answer(process: FakeProcess) -> None:
    """A run whose rotated token only its journal has."""
    process.endpoint.after = lambda _call, _token: process.lose_vault()
    process.refresh(demand=Demand(force=True))
    assert len(process.host.waiting()) == 1
    process.host.world.wait(20)


# -- a rotation


def test_a_rotation_is_saved_once(world: World) -> None:
    world.seed("a-1")
    assert settle(world, entry(world))
    assert settle(world, entry(world))
    assert (world.token, world.vault.read(PROFILE.grant).version) == ("a-2", 2)


def test_a_stale_read_does_not_pass_for_a_re_seed(world: World) -> None:
    """A standby may still show the token before the one that we spent; that is nobody's re-seed."""
    world.seed("a-0")
    world.seed("a-1")
    process = world.host().process()
    process.store.behind = 1

    def catch_up(call: str, path: str) -> None:  # noqa: ARG001
        if len(process.store.calls) >= 3:
            process.store.behind = 0

    process.store.before = catch_up
    assert settle(world, entry(world, version=2), process=process)
    assert world.token == "a-2"


def test_a_grant_that_was_deleted_with_all_its_versions_and_seeded_anew_is_not_taken_for_a_stale_one(
    world: World,
) -> None:
    waiting = entry(world, version=7)
    world.wait(60)
    world.seed("b-1")
    assert settle(world, waiting)
    assert world.token == "b-1"


def test_a_standby_that_does_not_catch_up_in_time_leaves_the_entry_waiting(world: World) -> None:
    world.seed("a-0")
    with pytest.raises(VaultUnreachable):
        settle(world, entry(world, version=2), seconds=3)
    assert len(world.host().waiting()) == 1


def test_a_deleted_grant_is_not_written_anew(world: World) -> None:
    """The journal keeps the token; a person decided that the grant should be gone."""
    world.seed("a-1")
    world.vault.delete(PROFILE.grant)
    assert not settle(world, entry(world))
    with pytest.raises(GrantMissing):
        world.host().process().refresh()


@pytest.mark.parametrize("claimed_by", ["ours", "theirs"])
def test_a_replay_notes_that_somebody_else_tried_the_spent_token_meanwhile(world: World, claimed_by: str) -> None:
    """A server with reuse detection has then killed the family; whoever is refused for that is told why."""
    world.seed("a-1")
    spent = Secret("a-1").fingerprint()
    claim = Claim(claimed_by, "web-9 (pid 9)", 15.0, spent)
    world.note(claim=claim, doubt=Doubt(spent, "web-9 (pid 9)", world.time.now))
    if not settle(world, entry(world, version=2)._replace(claim="ours")):
        world.wait(15 + MAX_JITTER)
        assert settle(world)
    doubt = world.grant().notes.doubt
    if claimed_by == "ours":
        assert doubt is None
    else:
        assert doubt is not None
        assert (doubt.holder, doubt.fingerprint) == ("web-9 (pid 9)", Secret("a-2").fingerprint())


def test_under_a_living_holder_nothing_is_overwritten(world: World) -> None:
    """Its save would find a token that it did not spend, and take it for a person's."""
    world.seed("a-1")
    claim = Claim("theirs", "web-9 (pid 9)", 15.0, Secret("a-1").fingerprint())
    world.note(claim=claim)
    assert not settle(world, entry(world, version=2))
    assert world.token == "a-1"

    world.wait(20)
    assert settle(world)
    assert world.token == "a-2"


def test_our_own_claim_is_no_reason_to_wait(world: World) -> None:
    world.seed("a-1")
    world.note(claim=Claim("ours", "web-1 (pid 1)", 15.0, Secret("a-1").fingerprint()))
    assert settle(world, entry(world, version=2)._replace(claim="ours"))
    assert world.token == "a-2"


class TestSeveral:
    @pytest.mark.parametrize("turned", [False, True])
    def test_of_two_for_one_spent_token_the_later_is_saved_and_the_other_dropped(
        self, world: World, turned: bool
    ) -> None:
        world.seed("a-1")
        two = [entry(world), entry(world, token="a-3")._replace(at=world.time.now + 30)]
        assert settle(world, *(reversed(two) if turned else two))
        assert world.token == "a-3"

    def test_what_was_rotated_further_is_followed_to_its_end(self, world: World) -> None:
        world.seed("a-1")
        assert settle(world, entry(world, "a-2", "a-3")._replace(at=world.time.now + 30), entry(world))
        assert world.token == "a-3"

    def test_only_the_very_entry_is_removed(self, world: World) -> None:
        """Another one that nobody has looked at stays, and so does one that can't be read."""
        world.seed("a-1")
        host = world.host()
        other = entry(world, "z-1", "z-2")._replace(grant="0" * 16, where=Location("secret", "elsewhere"))
        newer = f"{'5' * 16}-{'6' * 16}.journal"
        host.runtime.write(newer, json.dumps({"format": 2}))
        assert not settle(world, entry(world), other)
        assert world.token == "a-2"
        assert set(host.runtime.names()) == {other.name, newer}


# -- found by what was spent


class TestFound:
    """By two profiles, two spellings and two environments: none spends what another has spent."""

    def goes_on(self, world: World, process: FakeProcess) -> None:
        assert process.refresh(demand=Demand(force=True)).startswith("ticket-")
        assert (world.token, world.server.reuses, process.host.waiting()) == ("a-3", 0, [])

    def test_by_another_profile_with_the_same_grant(self, world: World) -> None:
        world.seed()
        lose_vault_after_the_answer(world.host().process())
        other = PROFILE._replace(name="billing", ticket=Location("secret", "ticket/billing/token"))
        self.goes_on(world, world.host().process(other))

    def test_by_the_profile_under_another_name(self, world: World) -> None:
        world.seed()
        lose_vault_after_the_answer(world.host().process())
        self.goes_on(world, world.host().process(PROFILE._replace(name="helpdesk")))

    def test_by_another_spelling_of_vaults_address(self, world: World) -> None:
        world.seed()
        lose_vault_after_the_answer(world.host().process())
        self.goes_on(world, world.host().process(address=ELSEWHERE))

    def test_in_a_document_that_was_moved(self, world: World) -> None:
        """It goes into the one that holds the spent token now, whatever its own address says."""
        world.seed()
        moved = PROFILE._replace(grant=Location("secret", "moved/grant"))
        lose_vault_after_the_answer(world.host().process())
        world.vault.write(moved.grant, world.document())
        process = world.host().process(moved, ELSEWHERE._replace(document="e" * 16))
        process.refresh(demand=Demand(force=True))
        assert world.vault.read(moved.grant).data is not None
        assert (world.server.reuses, process.host.waiting()) == (0, [])

    def test_under_cron_and_at_a_login(self, world: World) -> None:
        """Two environments with folders of their own; what follows from the user alone shows where the other's are."""
        world.seed()
        login, cron = world.host(), world.host("web-1-cron")
        login.places = login.places._replace(fixed=(str(login.state),))
        cron.places = login.places._replace(runtime=(cron.runtime.path,), state=(str(cron.state),))
        lose_vault_after_the_answer(cron.process())
        self.goes_on(world, login.process())
        assert [path.name for path in login.state.iterdir()] == []

    def test_after_a_logout_that_removed_the_runtime_folder(self, world: World) -> None:
        world.seed()
        host = world.host()
        lose_vault_after_the_answer(host.process())
        shutil.rmtree(host.runtime.path)
        self.goes_on(world, self.anew(host))

    def anew(self, host: FakeHost) -> FakeProcess:
        host.journal = Journal(None, lambda: host.places)
        return host.process()

    def test_one_of_an_older_program(self, world: World) -> None:
        """It named them by profile and address, and wrote no format number."""
        world.seed("a-1")
        plain = json.loads(text_of(entry(world)))
        for name in ("format", "document", "server"):
            del plain[name]
        world.host().runtime.write(f"support-{ADDRESS.key}.journal", json.dumps(plain))
        assert settle(world)
        assert (world.token, world.host().runtime.names()) == ("a-2", [])

    def test_one_of_an_older_program_for_another_grant_gets_its_name_and_waits(self, world: World) -> None:
        world.seed("z-1")
        plain = json.loads(text_of(entry(world)._replace(grant="0" * 16, where=Location("secret", "other"))))
        del plain["format"], plain["document"], plain["server"]
        world.host().runtime.write(f"other-{'0' * 16}.journal", json.dumps(plain))
        assert not settle(world)
        assert world.host().runtime.names() == [entry(world).name]


# -- what forbids spending


class TestForbids:
    def test_an_entry_of_another_grant_does_not(self, world: World) -> None:
        world.seed()
        other = entry(world, "z-1", "z-2")._replace(grant="0" * 16, where=Location("secret", "elsewhere"))
        one = world.host().process()
        one.host.journal.write(other)
        assert one.refresh() == "ticket-1"
        assert one.host.waiting() == [other]

    def test_one_that_comes_between_our_read_and_our_claim(self, world: World) -> None:
        """A holder whose claim ran out has read its answer at last."""
        world.seed()
        one = world.host().process()
        world.server.refresh("a-1", CLIENT)

        def late(call: str, path: str) -> None:
            if (call, path) == ("write", PROFILE.grant.path):
                one.store.before = lambda _call, _path: None
                one.host.journal.write(entry(world))

        one.store.before = late
        assert one.refresh().startswith("ticket-")
        assert (one.endpoint.seen, world.token, world.server.reuses) == (["a-2"], "a-3", 0)
        assert world.grant().notes.claim is None

    @pytest.mark.parametrize("name", ["rotation", "seed", "older"])
    def test_one_that_can_not_be_read(self, world: World, name: str) -> None:
        world.seed()
        names = {
            "rotation": f"{Secret('a-1').fingerprint()}-{'0' * 16}.journal",
            "seed": f"seed-{ADDRESS.document}-{'0' * 16}.journal",
            "older": f"support-{ADDRESS.key}.journal",
        }
        one = world.host().process()
        one.host.runtime.write(names[name], "{")
        with pytest.raises(StoredDataInvalid, match=names[name]):
            one.refresh()
        assert one.endpoint.seen == []

    def test_one_of_another_token_that_can_not_be_read_does_not(self, world: World) -> None:
        world.seed()
        one = world.host().process()
        one.host.runtime.write(f"{'5' * 16}-{'0' * 16}.journal", "{")
        assert one.refresh() == "ticket-1"

    def test_one_that_a_newer_program_wrote(self, world: World) -> None:
        world.seed()
        one = world.host().process()
        name = f"{Secret('a-1').fingerprint()}-{'0' * 16}.journal"
        one.host.runtime.write(name, json.dumps({"format": 2, "anything": "else"}))
        with pytest.raises(StoredDataInvalid, match="newer vault-ticket") as caught:
            one.refresh()
        assert "Upgrade vault-ticket here" in caught.value.hint
        assert (one.endpoint.seen, one.host.runtime.names()) == ([], [name])

    def test_a_folder_that_others_can_write(self, world: World) -> None:
        world.seed()
        one = world.host().process()
        one.host.state.mkdir(parents=True)
        one.host.state.chmod(0o777)
        with pytest.raises(StoredDataInvalid, match="open to other users") as caught:
            one.refresh()
        assert str(one.host.state) in caught.value.message
        one.host.state.chmod(0o700)  # as the hint says
        assert one.refresh() == "ticket-1"

    def test_notes_of_a_newer_program_in_the_grant(self, world: World) -> None:
        world.seed(vault_ticket={"format": grant_document.FORMAT + 1, "claim": "of another kind"})
        one = world.host().process()
        with pytest.raises(StoredDataInvalid, match="newer vault-ticket") as caught:
            one.refresh()
        assert "Upgrade vault-ticket here" in caught.value.hint
        assert (one.endpoint.seen, world.vault.read(PROFILE.grant).version) == ([], 1)

    def test_a_usable_ticket_is_handed_out_all_the_same(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        world.seed()
        world.put_ticket(left=60)
        one = world.host().process()
        one.host.runtime.write(f"{Secret('a-1').fingerprint()}-{'0' * 16}.journal", "{")
        assert one.get() == "an-older-ticket"
        assert "can't be read" in caplog.text
        world.wait(60)
        one.host.forget()
        with pytest.raises(StoredDataInvalid) as caught:
            one.get()
        assert caught.value.exit_code == 65


# -- what a person gave to `store`, and the server rotated


class TestSeed:
    def replay(self, world: World, version: int = 1, deny: bool = False) -> bool:
        process = world.host().process()
        if deny:
            process.store.before = fail_once("read", VaultDenied("Vault denies GET", ""))
        return settle(world, entry(world, kind="seed", version=version), process=process)

    def test_it_is_saved_over_what_it_was_to_replace(self, world: World) -> None:
        world.seed("x-1")
        world.wait(10)
        assert self.replay(world)
        assert (world.token, world.document()["client_id"]) == ("a-2", CLIENT)

    def test_it_is_saved_where_nothing_is_stored_yet(self, world: World) -> None:
        assert self.replay(world, version=0)
        assert world.token == "a-2"

    @pytest.mark.parametrize("version", [0, 1])
    def test_it_is_saved_where_the_grant_was_deleted(self, world: World, version: int) -> None:
        """By versions or altogether."""
        if version:
            world.seed("x-1")
            world.vault.delete(PROFILE.grant)
        assert settle(world, entry(world, kind="seed", version=1))
        assert world.token == "a-2"

    @pytest.mark.parametrize("by", ["put", "patch"])
    def test_what_a_person_put_there_since_stands(
        self, world: World, by: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.seed("x-1")
        world.note()
        waiting = entry(world, kind="seed", version=2)
        world.wait(10)
        if by == "put":
            world.seed("b-1")
        else:
            world.edit(refresh_token="b-1")
        assert settle(world, waiting)
        assert world.token == "b-1"
        assert "dropped" in caplog.text

    def test_who_may_not_read_the_grant_saves_it_where_nothing_has_changed(self, world: World) -> None:
        world.seed("x-1")
        assert self.replay(world, version=1, deny=True)
        assert world.token == "a-2"

    def test_who_may_not_read_the_grant_overwrites_nothing_that_has_changed(self, world: World) -> None:
        """The hint: a token that may read, or a new one to store."""
        world.seed("x-1")
        world.seed("b-1")
        with pytest.raises(CasMismatch, match="has changed since `store` ran") as caught:
            self.replay(world, version=1, deny=True)
        assert (world.token, len(world.host().waiting())) == ("b-1", 1)
        assert "with a token that may" in caught.value.hint
        assert settle(world)
        assert world.token == "b-1"

    def test_of_two_the_later_is_saved_by_who_may_not_read(self, world: World) -> None:
        world.seed("x-1")
        process = world.host().process()
        process.store.before = fail_once("read", VaultDenied("Vault denies GET", ""))
        later = entry(world, "b-1", "b-2", "seed")._replace(at=world.time.now + 30)
        assert settle(world, later, entry(world, kind="seed"), process=process)
        assert world.token == "b-2"

    def test_one_that_can_not_be_removed_forbids_nothing(self, world: World) -> None:
        """The disk is read-only by now: it is found to be saved each time."""
        world.seed(world.server.issue())
        one = world.host().process()
        one.host.journal.write(entry(world, "z-1", world.token, "seed"))
        with patch.object(Journal, "remove"):
            assert one.refresh() == "ticket-1"
        assert "seed" in [waiting.kind for waiting in one.host.waiting()]

    def test_it_is_not_written_again_once_it_is_there(self, world: World) -> None:
        world.seed("a-2")
        assert self.replay(world)
        assert world.vault.read(PROFILE.grant).version == 1

    def test_under_another_spelling_it_waits(self, world: World) -> None:
        """It may be another server with a document of the same name; it forbids nothing there."""
        world.seed("x-1")
        one = world.host().process(address=ELSEWHERE)
        one.host.journal.write(entry(world, kind="seed"))
        one.transaction.settle(one.deadline())
        assert (world.token, len(one.host.waiting())) == ("x-1", 1)

    def test_under_another_spelling_the_given_token_proves_that_it_belongs_there(self, world: World) -> None:
        world.seed("a-1")
        one = world.host().process(address=ELSEWHERE)
        one.host.journal.write(entry(world, kind="seed"))
        one.transaction.settle(one.deadline())
        assert (world.token, one.host.waiting()) == ("a-2", [])

    def test_it_is_saved_before_the_token_that_it_replaces_is_spent(self, world: World) -> None:
        old = world.seed()
        one = world.host().process()
        given = world.server.issue()
        world.server.refresh(given, CLIENT)
        one.host.journal.write(entry(world, given, "b-2", "seed"))
        one.refresh()
        assert (one.endpoint.seen, world.token) == (["b-2"], "b-3")
        assert world.server.current(old)


def test_a_reader_who_has_nothing_waiting_asks_nothing(world: World) -> None:
    one = world.host().process()
    one.issuer.replay(one.deadline())
    assert one.store.calls == []


def test_what_can_not_be_saved_now_is_said_and_stays(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.seed("a-1")
    one = world.host().process()
    one.host.journal.write(entry(world))
    one.store.before = fail_once("read", SEALED)
    one.issuer.save_what_waits(one.deadline())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "still waits on this host" in caplog.text
    assert len(one.host.waiting()) == 1
    one.issuer.save_what_waits(one.deadline())
    assert (world.token, one.host.waiting()) == ("a-2", [])
