"""Whose claim is over: by what was seen of it, on the observer's own clock."""

import pytest

from tests.world import PROFILE, FakeProcess, World
from vault_ticket_plugin.errors import Busy, GrantRejected, VaultUnreachable
from vault_ticket_plugin.host.claim_watch import FileWatches
from vault_ticket_plugin.model import Claim, Grant, Notes
from vault_ticket_plugin.refresh.carrier import Request
from vault_ticket_plugin.refresh.watch import MAX_JITTER, Watch, after_look, is_over, version_of
from vault_ticket_plugin.secret import Secret

CLAIM = Claim("id-1", "web-9 (pid 1)", 15.0, "f" * 16)


def grant(version: int = 3, created_at: float = 1000.0, claim: Claim = CLAIM) -> Grant:
    return Grant(Secret("a-1"), None, version, {}, Notes(claim=claim), created_at=created_at)


class TestIsOver:
    @pytest.mark.parametrize(
        ("seconds", "age", "over"),
        [(15.0, 16.9, False), (15.0, 17.1, True), (0.1, 6.9, False), (0.1, 7.1, True), (1e9, 301.9, False),
         (1e9, 302.1, True)],
    )  # fmt: skip
    def test_after_its_length_within_bounds_and_this_observers_jitter(
        self, seconds: float, age: float, over: bool
    ) -> None:
        claim = CLAIM._replace(seconds=seconds)
        seen = Watch(version_of(grant(claim=claim)), 50.0)
        assert is_over(claim, seen.version, seen, 50.0 + age, 2.0) is over

    def test_not_at_the_first_look(self) -> None:
        assert not is_over(CLAIM, version_of(grant()), None, 1e9, 0.0)

    @pytest.mark.parametrize(
        "other", [grant(version=4), grant(created_at=1001.0), grant(claim=CLAIM._replace(id="id-2"))]
    )
    def test_another_version_begins_anew(self, other: Grant) -> None:
        """Also where numbers begin again, as after the metadata was deleted or Vault restored."""
        seen = Watch(version_of(grant()), 50.0)
        assert not is_over(CLAIM, version_of(other), seen, 1e9, 0.0)
        assert after_look(version_of(other), seen, 99.0) == Watch(version_of(other), 99.0)

    def test_a_further_look_keeps_the_first(self) -> None:
        seen = Watch(version_of(grant()), 50.0)
        assert after_look(seen.version, seen, 60.0) is seen

    def test_a_watch_of_the_future_is_none(self) -> None:
        """The file is another boot's, or was written by hand."""
        seen = Watch(version_of(grant()), 500.0)
        assert after_look(seen.version, seen, 60.0) == Watch(seen.version, 60.0)


class TestFile:
    def test_the_next_call_goes_on_watching(self, world: World) -> None:
        folder = world.host().runtime
        FileWatches(folder, "grant.watch").keep(Watch("3 1000.0 id-1", 50.25))
        assert FileWatches(folder, "grant.watch").read() == Watch("3 1000.0 id-1", 50.25)

    def test_another_boot_begins_anew(self, world: World) -> None:
        folder = world.host().runtime
        FileWatches(folder, "grant.watch", lambda: "one").keep(Watch("3 1000.0 id-1", 50.25))
        assert FileWatches(folder, "grant.watch", lambda: "another").read() is None

    @pytest.mark.parametrize("text", ["", "boot", "boot soon 3", "\0"])
    def test_a_file_that_is_none_is_passed_over(self, world: World, text: str) -> None:
        folder = world.host().runtime
        folder.write("grant.watch", text)
        assert FileWatches(folder, "grant.watch", lambda: "boot").read() is None

    def test_without_a_folder_one_call_remembers_itself(self) -> None:
        watches = FileWatches(None, "grant.watch")
        watches.keep(Watch("3 1000.0 id-1", 50.25))
        assert watches.read() == Watch("3 1000.0 id-1", 50.25)
        watches.forget()
        assert watches.read() is None


@pytest.fixture
def one(world: World) -> FakeProcess:
    """On a host that meets another one's claim."""
    world.seed()
    world.note(claim=CLAIM._replace(fingerprint=Secret(world.token).fingerprint()))
    return world.host("web-1").process()


def took(one: FakeProcess, timeout: float = 20.0) -> float:
    began = one.host.clock.monotonic()
    one.refresh(timeout=timeout)
    return one.host.clock.monotonic() - began


class TestTakeover:
    def test_a_fresh_host_waits_one_length(self, world: World, one: FakeProcess) -> None:
        world.server.reuse_detection = False
        assert 15 <= took(one) <= 15 + MAX_JITTER + 1.5

    def test_two_short_calls_watch_together(self, world: World, one: FakeProcess) -> None:
        """What the first one saw is kept for the second."""
        with pytest.raises(Busy):
            one.refresh(timeout=8)
        world.wait(10)
        assert took(one.host.process()) < 1

    def test_a_look_that_fails_begins_anew(self, world: World, one: FakeProcess) -> None:
        """A holder that is retrying its save has a full length after Vault's return."""
        with pytest.raises(Busy):
            one.refresh(timeout=8)

        def gone(call: str, path: str) -> None:
            if (call, path) == ("read", PROFILE.grant.path):
                raise VaultUnreachable("sealed")

        one.store.before = gone
        with pytest.raises(VaultUnreachable):
            one.refresh()
        world.wait(20)
        assert took(one.host.process()) >= 15

    def test_an_edit_meanwhile_begins_anew(self, world: World, one: FakeProcess) -> None:
        with pytest.raises(Busy):
            one.refresh(timeout=8)
        world.edit(owner="team")
        world.wait(20)
        assert took(one.host.process()) >= 15

    def test_a_suspended_holder_sends_nothing(self, world: World) -> None:
        """Its own clock counts the time that it was away."""
        world.seed()
        one = world.host("web-1").process()

        def suspended(call: str, path: str) -> None:
            if (call, path) == ("read", PROFILE.ticket.path) and world.grant().notes.claim is not None:
                one.store.after = lambda _call, _path: None
                world.wait(60)

        one.store.after = suspended
        with pytest.raises(VaultUnreachable):
            one.refresh()
        assert one.endpoint.seen == []


class TestSameHost:
    """Who has the lock takes over at once what was claimed under it."""

    def claimed(self, world: World, sent: bool, ends: float = 0.0) -> FakeProcess:
        """A holder of this host has died after its claim, or after it had sent its request."""
        token = world.seed()
        one = world.host("web-1").process()
        with one.issuer.lock.queued() as turn:
            assert turn.take()
            lock = turn.hand_over()
        assert lock is not None
        fingerprint = Secret(token).fingerprint()
        if sent:
            lock.note_request(Request(fingerprint, one.host.clock.monotonic() + ends))
        world.note(claim=CLAIM._replace(fingerprint=fingerprint, lock=lock.name()))
        lock.close()
        return one

    def test_one_that_had_sent_nothing_leaves_no_doubt_and_no_wait(self, world: World) -> None:
        one, began = self.claimed(world, sent=False), world.time.now
        assert one.get() == "ticket-1"
        assert world.time.now - began < 1
        assert world.server.reuses == 0

    def test_a_request_that_may_be_under_way_is_waited_for(self, world: World) -> None:
        one, began = self.claimed(world, sent=True, ends=6.0), world.time.now
        spent: list[float] = []
        one.endpoint.before = lambda _call, _token: spent.append(world.time.now - began)
        one.get()
        assert 6 <= spent[0] < 8

    def test_and_leaves_a_doubt(self, world: World) -> None:
        one = self.claimed(world, sent=True)
        world.server.refresh(world.token, world.profile.client_id or "")
        with pytest.raises(GrantRejected, match="web-9"):
            one.get()

    def test_a_claim_of_another_lock_is_watched(self, world: World) -> None:
        """As of a container with folders of its own, on the same machine."""
        one = self.claimed(world, sent=False)
        world.note(claim=CLAIM._replace(fingerprint=Secret(world.token).fingerprint(), lock="another"))
        with pytest.raises(Busy):
            one.get(timeout=8)

    def test_a_lock_file_that_was_replaced_has_no_name(self, world: World) -> None:
        one = world.host("web-1").process()
        with one.issuer.lock.queued() as turn:
            assert turn.take()
            lock = turn.hand_over()
        assert lock is not None
        assert lock.name()
        folder = one.host.runtime
        folder.remove(next(name for name in folder.names() if name.endswith(".lock")))
        assert lock.name() == ""
        lock.close()
