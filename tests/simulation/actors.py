"""What a scheduler moves: actors and the processes that they are in, and events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Killed(BaseException):
    """SIGKILL, as the dying thread sees it. Whoever catches it can do nothing any more."""


class Violation(AssertionError):
    """What must hold does not. `name` is the invariant's, and of the case if it has one."""

    def __init__(self, name: str, fact: str) -> None:
        super().__init__(f"{name}: {fact}")
        self.name = name
        self.fact = fact


class Machine(Protocol):
    """What an actor runs on; one that is suspended runs nothing until it wakes."""

    name: str
    wakes: float


@dataclass(eq=False)
class Process:
    """What the kernel knows of a program: its number and its open descriptors."""

    pid: int
    machine: Machine
    descriptors: set[int] = field(default_factory=set)
    wakes: float = 0.0
    """It is stopped until then."""


@dataclass(eq=False)
class Actor:
    """One call. `at`: the await point where it stands."""

    name: str
    process: Process
    kind: str = ""
    at: str = "begin"
    due: float = 0.0
    dead: bool = False
    done: bool = False
    raising: BaseException | None = None
    result: object = None
    error: BaseException | None = None
    trace: str = ""
    """Where the error came from."""
    began: float = 0.0
    ended: float = 0.0
    signalled: str = ""
    go: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.go.acquire()


class Watcher(Protocol):
    """Whoever looks at each step: lets faults happen before it, and judges after it."""

    def before(self, point: str, subject: object) -> None:
        """`subject`: the actor that is about to go on, or what the event is about."""

    def after(self) -> None:
        """After each step."""

    def ended(self, actor: Actor) -> None:
        """When an actor has come to its end, whatever it was."""


@dataclass(order=True)
class Event:
    """Something that happens without an actor: a message that arrives, a person's request."""

    at: float
    number: int
    point: str = field(compare=False)
    subject: object = field(compare=False)
    action: Callable[[], object] = field(compare=False)


def ending(actor: Actor) -> str:
    if actor.error is not None:
        return f"{type(actor.error).__name__} {actor.error}"
    return "" if actor.result is None else str(actor.result)


def let_go(error: BaseException | None) -> None:
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
