"""The simulator itself: the same run each time, and no effect of the dead."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from tests.simulation import hosts
from tests.simulation.actors import Killed
from tests.simulation.plan import Act, Aim, Fault, Plan, Setting, shortest
from tests.simulation.scheduler import START
from tests.simulation.simulation import run, run_seed
from tests.simulation.vault import document
from tests.simulation.world import World
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.refresh import rotation
from vault_ticket_plugin.refresh.journal import Journal

ROOT = Path(__file__).parents[2]


@contextmanager
def small_world(plan: Plan) -> Iterator[World]:
    """With simulated calls, and nothing begun."""
    with hosts.folders() as place:
        world = World(plan, place, frozenset())
        try:
            with hosts.simulated(world.scheduler, world.network.exchange):
                yield world
                world.close()
        finally:
            world.close()


class TestDeterminism:
    @pytest.mark.parametrize("seed", [1, 3, 22])
    def test_one_seed_gives_one_trace(self, seed: int) -> None:
        first, second = run_seed(seed), run_seed(seed)
        assert (first.digest, first.steps, first.happened) == (second.digest, second.steps, second.happened)

    def test_seeds_differ(self) -> None:
        assert run_seed(1).digest != run_seed(2).digest

    def test_in_another_process(self) -> None:
        """Neither the order of a set nor a process's number nor what ran before leaks in."""
        script = "from tests.simulation.simulation import run_seed; print(run_seed(22).digest)"
        digests = {run_seed(22).digest}
        for hash_seed in ("1", "2"):
            environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
            done = subprocess.run(
                [sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
            )
            digests.add(done.stdout.strip())
        assert len(digests) == 1

    def test_what_happened_can_be_repeated_by_its_steps(self) -> None:
        """A failing run is told by the steps of its faults: they give the same run as the aims did."""
        plan = Plan(5, Setting(), (Act(0.0, "get"), Act(20.0, "get")), (Aim("kill", "write grant: leave", 1),))
        first = run(plan)
        again = run(plan._replace(aims=(), faults=first.happened))
        assert first.happened
        assert (first.digest, first.happened) == (again.digest, again.happened)


class TestTheDead:
    """A killed actor has no effect any more, whatever it catches."""

    def test_writes_no_file(self, tmp_path: Path) -> None:
        with small_world(Plan(0, Setting(), ())) as world:
            host, tried = world.hosts[0], []

            def dying() -> None:
                from vault_ticket_plugin.folder import Folder

                folder = Folder(str(tmp_path / "run"))
                try:
                    host.clock.sleep(10.0)
                except BaseException:
                    tried.append("write")
                    folder.write("last-words", "x")
                    raise

            actor = world.scheduler.spawn("dying", host.process(), dying)
            world.scheduler.at(START + 5.0, "killer", None, lambda: world.killed(actor))
            world.scheduler.run(START + 20.0)
        assert tried == ["write"]
        assert isinstance(actor.error, Killed)
        assert list((tmp_path / "run").iterdir()) == []

    def test_sends_nothing(self) -> None:
        with small_world(Plan(0, Setting(), ())) as world:
            host = world.hosts[0]

            def dying() -> None:
                with hosts.wired(host, world.environ(Act(0.0, "get"), host)) as wiring:
                    try:
                        host.clock.sleep(10.0)
                    except BaseException:
                        where = wiring.settings.profile("support").grant
                        wiring.store.write(where, {"refresh_token": "last words"}, None, hosts.deadline(host, 5.0))
                        raise

            actor = world.scheduler.spawn("dying", host.process(), dying)
            world.scheduler.at(START + 5.0, "killer", None, lambda: world.killed(actor))
            world.scheduler.run(START + 60.0)
            found = document(world.cluster.state, "secret/ticket/support/grant") or {}
        assert isinstance(actor.error, Killed)
        assert found["refresh_token"] == "a-1"

    def test_lets_go_of_its_lock(self) -> None:
        """As the kernel does: another call has it at once."""
        killed = Aim("kill", "spend: leave")
        with small_world(Plan(0, Setting(), (), (killed,))) as world:
            world.begin(Act(0.0, "get"))
            world.scheduler.run(START + 1.0)
            world.begin(Act(0.0, "get, uncached"))
            world.scheduler.run(START + 2.0)
            assert any("2.get, uncached support@web-1 read token: leave" in line for line in world.scheduler.tail)

    def test_what_it_has_sent_arrives_all_the_same(self) -> None:
        with small_world(Plan(0, Setting(), (), (Aim("kill", "spend: read"),))) as world:
            world.begin(Act(0.0, "get"))
            world.scheduler.run(START + 5.0)
            assert world.server.spends == 1

    def test_a_journal_kept_by_a_handler_is_seen_to_be_none(self) -> None:
        """Who keeps the token in `except BaseException` passes where a kill is an exception, and fails here."""
        real = rotation.save

        def kept_by_handler(store: object, entry: object, *how: object) -> object:
            try:
                return real(store, entry, *how)  # type: ignore[arg-type]
            except VaultTicketError:
                raise
            except BaseException:
                write(Journal(None, "/nowhere"), entry)  # type: ignore[arg-type]
                raise

        write = Journal.write
        plan = Plan(0, Setting(), (Act(0.0, "get"), Act(40.0, "get")), (Aim("kill", "write grant: read", 1),))
        assert not run(plan).violated
        lost = plan._replace(aims=(Aim("kill", "write grant: leave", 1),))
        assert not run(lost).violated
        with (
            mock.patch.object(Journal, "write"),
            mock.patch.object(rotation, "save", kept_by_handler),
        ):
            assert run(lost).violated == "I1"


class TestShrinking:
    def test_only_what_is_needed_is_left(self) -> None:
        faults = tuple(Fault(step, "kill") for step in range(40))
        needed = {faults[7], faults[31]}
        tried = []

        def fails(kept: tuple[Fault, ...]) -> bool:
            tried.append(kept)
            return needed <= set(kept)

        assert set(shortest(faults, fails)) == needed
        assert len(tried) < 120

    def test_a_run_that_fails_by_itself_needs_none(self) -> None:
        assert shortest((Fault(1, "kill"), Fault(2, "term")), lambda _: True) == ()
