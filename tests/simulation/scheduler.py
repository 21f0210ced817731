"""Who runs next: actors with a baton, events, virtual time, and a trace that one seed always repeats.

An actor is one call of a program, in a thread of its own. Only the one that has the baton runs; it gives it up at each
await point (`pause`), and whoever gives it up decides who goes on. So a run with one active actor switches no threads.

A killed actor has no further effect: from the moment of its death `pause` and `guard`, which stand before each system
call and each stage of an exchange, raise in its thread without doing anything, and its handlers run into the same.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import threading
import traceback
from collections.abc import Callable

from tests.simulation.actors import Actor, Event, Killed, Process, Violation, Watcher, ending, let_go

# 2027-01-15T08:00:00.25Z: not a whole second, so that rounding shows.
START = 1_800_000_000.25
# How often the actor that just ran goes on, where others could.
STAY = 0.7
# Far more than any run needs: one that gets there turns in a circle.
MAX_STEPS = 60_000
# A thread that does not give the baton back in this time hangs, and the test with it.
PATIENCE = 10.0
TAIL = 60


class Scheduler:
    """One run. All of its decisions are drawn from one generator."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"run {seed}")
        self.now = START
        self.step = 0
        self.actors: list[Actor] = []
        self.current: Actor | None = None
        self.watcher: Watcher | None = None
        self.failure: BaseException | None = None
        self.tail: list[str] = []
        self.until = START
        self._digest = hashlib.sha256()
        self._events: list[Event] = []
        self._number = 0
        self._back = threading.Lock()
        self._back.acquire()
        self._closing = False

    # -- for whoever builds a run

    def spawn(self, name: str, process: Process, body: Callable[[], object], kind: str = "") -> Actor:
        """A new actor, ready to begin."""
        actor = Actor(name, process, kind, due=self.now, began=self.now)
        self.actors.append(actor)
        threading.Thread(target=self._run, args=(actor, body), daemon=True).start()
        return actor

    def at(self, when: float, point: str, subject: object, action: Callable[[], object]) -> None:
        """Let that happen then."""
        self._number += 1
        heapq.heappush(self._events, Event(when, self._number, point, subject, action))

    def run(self, until: float) -> None:
        """Let everybody go on until nothing is left to do, or that time. Raises what a watcher found wrong."""
        self.until = until
        chosen = self._next(None)
        if chosen is not None:
            self._hand_to(chosen)
            self._wait(self._back)
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """End every thread that is left, without an effect."""
        self._closing = True
        for actor in list(self.actors):
            actor.dead = True
            self._hand_to(actor)
            self._wait(self._back)

    def digest(self) -> str:
        return self._digest.hexdigest()

    def note(self, text: str) -> None:
        """A line of the trace."""
        line = f"{self.step:6d} {self.now - START:9.3f} {text}"
        self._digest.update(line.encode())
        self.tail.append(line)
        if len(self.tail) > 2 * TAIL:
            del self.tail[:TAIL]

    # -- for actors

    def pause(self, point: str, until: float | None = None) -> None:
        """An await point: others may go on. Not before `until`, unless somebody sets `due` to an earlier time."""
        actor = self.current
        if actor is None:
            return
        if actor.dead:
            raise Killed
        actor.at, actor.due = point, self.now if until is None else until
        self._judged()

        self._give_up(actor)
        if actor.dead:
            raise Killed
        if actor.raising is not None:
            raising, actor.raising = actor.raising, None
            raise raising

    def guard(self) -> None:
        """Before a system call at which nobody else goes on: the dead do nothing."""
        if self.current is not None and self.current.dead:
            raise Killed

    # -- whose turn it is

    def _run(self, actor: Actor, body: Callable[[], object]) -> None:
        actor.go.acquire()
        try:
            if not actor.dead:
                actor.result = body()
        except BaseException as error:  # noqa: BLE001 - the watcher judges it
            actor.error, actor.trace = error, traceback.format_exc()
            let_go(error)  # of what its frames hold, while it is still this actor that closes it
        actor.done, actor.ended = True, self.now
        self.actors.remove(actor)

        if self._closing:
            self._back.release()
            return
        self.note(f"{actor.name} ends: {ending(actor)}")
        try:
            if self.watcher is not None:
                self.watcher.ended(actor)
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self.failure = self.failure or error
        self._judged()
        self._give_up(actor)

    def _give_up(self, actor: Actor) -> None:
        """Returns when it is the actor's turn again; at once if it is done."""
        chosen = self._next(actor)
        if chosen is actor:
            self.current = actor
            return
        if chosen is None:
            self.current = None
            self._back.release()
        else:
            self._hand_to(chosen)
        if not actor.done:
            self._wait(actor.go)

    def _hand_to(self, actor: Actor) -> None:
        self.current = actor
        actor.go.release()

    def _wait(self, lock: threading.Lock) -> None:
        if not lock.acquire(timeout=PATIENCE):
            raise RuntimeError(f"somebody hangs: {[(one.name, one.at) for one in self.actors]}")

    def _next(self, last: Actor | None) -> Actor | None:
        """Runs events until an actor is to go on; None if nothing is left to do."""
        try:
            while self.failure is None:
                dying = next((actor for actor in self.actors if actor.dead), None)
                if dying is not None:
                    return dying
                chosen = self._choose(last)
                if chosen is None:
                    return None

                self.step += 1
                if self.step > MAX_STEPS:
                    raise Violation("END", "the run does not end")
                if isinstance(chosen, Actor):
                    self._met(chosen.name, chosen.at, chosen)
                    if chosen.dead or self._ready(chosen):
                        return chosen
                else:
                    self.current = None
                    self._met("-", chosen.point, chosen.subject)
                    chosen.action()
                    self._judged()
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self.failure = error
        return None

    def _met(self, who: str, point: str, subject: object) -> None:
        self.note(f"{who} {point}")
        if self.watcher is not None:
            self.watcher.before(point, subject)

    def _choose(self, last: Actor | None) -> Actor | Event | None:
        """Whoever is due, by chance; the time passes until somebody is."""
        if not self.actors and not self._events:
            return None
        soonest = min((self._due(actor) for actor in self.actors), default=float("inf"))
        if self._events:
            soonest = min(soonest, self._events[0].at)
        if soonest > self.until:
            return None
        self.now = max(self.now, soonest)

        # Messages of the same moment arrive before anybody goes on: an order like any other, and the cheapest.
        if self._events and self._events[0].at <= self.now:
            return heapq.heappop(self._events)
        ready = [actor for actor in self.actors if self._ready(actor)]
        if last in ready and self.chance.random() < STAY:
            return last
        return ready[0] if len(ready) == 1 else self.chance.choice(ready)

    def _due(self, actor: Actor) -> float:
        return max(actor.due, actor.process.wakes, actor.process.machine.wakes)

    def _ready(self, actor: Actor) -> bool:
        return self._due(actor) <= self.now

    def _judged(self) -> None:
        try:
            if self.watcher is not None and self.failure is None:
                self.watcher.after()
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self.failure = error
