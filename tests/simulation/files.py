"""System calls on folders and locks, each a named await point, on real folders of a real file system.

`os` and `fcntl` are put in place of those modules' names in our own modules. What changes something, or looks for a
name, is an await point; what works on an open descriptor alone is only refused to the dead. Inode numbers and times of
files are the simulated ones: the real ones differ from run to run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import Any

from tests.simulation.scheduler import Scheduler

# By a name's end: what a point is called after.
KINDS = (
    (".journal", "journal"),
    (".ticket", "cached ticket"),
    (".failure", "failure"),
    (".lock", "lock"),
    ("vault-ticket", "folder"),
)


def kind_of(path: str) -> str:
    name = os.path.basename(path)
    if name.startswith(".new-"):
        return "new file"
    return next((kind for end, kind in KINDS if name.endswith(end)), "other file")


class SimulatedOs:
    """`os`, as an actor has it. Where no actor runs it is the real one."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._inodes: dict[tuple[int, int], int] = {}
        self._written: dict[tuple[int, int], float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # -- await points

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        what = "create" if flags & os.O_CREAT else "open"
        self._scheduler.pause(f"{what} {kind_of(path)}")
        fd = os.open(path, flags, mode, dir_fd=dir_fd)
        actor = self._scheduler.current
        if actor is not None:
            actor.process.descriptors.add(fd)
        if flags & os.O_CREAT:
            self._touch(fd)
        return fd

    def rename(self, source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        self._scheduler.pause(f"rename {kind_of(target)}")
        os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def link(self, source: str, target: str, **more: Any) -> None:
        self._scheduler.pause(f"link {kind_of(target)}")
        os.link(source, target, **more)

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        self._scheduler.pause(f"remove {kind_of(path)}")
        os.unlink(path, dir_fd=dir_fd)

    def mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._scheduler.pause("make folder")
        os.mkdir(path, mode, dir_fd=dir_fd)

    def makedirs(self, path: str, mode: int = 0o777, exist_ok: bool = False) -> None:
        self._scheduler.pause("make folders")
        os.makedirs(path, mode, exist_ok)

    def listdir(self, path: int | str) -> list[str]:
        self._scheduler.pause("list folder")
        return sorted(os.listdir(path))

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self._scheduler.pause("write file")
        written = os.write(fd, data)
        self._touch(fd)
        return written

    def fsync(self, _fd: int) -> None:
        """Nothing here outlives a host that loses its memory, so nothing needs to be waited for."""
        self._scheduler.pause("sync")

    # -- refused to the dead

    def read(self, fd: int, size: int) -> bytes:
        self._scheduler.guard()
        return os.read(fd, size)

    def close(self, fd: int) -> None:
        """Nothing where a process's end has closed it already: its number may be another one's by now."""
        actor = self._scheduler.current
        if actor is None:
            os.close(fd)
        elif not actor.dead and fd in actor.process.descriptors:
            actor.process.descriptors.remove(fd)
            os.close(fd)

    def fstat(self, fd: int) -> os.stat_result:
        self._scheduler.guard()
        return self._simulated(os.fstat(fd))

    def stat(self, path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        self._scheduler.guard()
        return self._simulated(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks))

    def urandom(self, size: int) -> bytes:
        self._scheduler.guard()
        return self._scheduler.chance.randbytes(size)

    def getpid(self) -> int:
        actor = self._scheduler.current
        return os.getpid() if actor is None else actor.process.pid

    # -- what is simulated of a file

    def _touch(self, fd: int) -> None:
        found = os.fstat(fd)
        self._written[found.st_dev, found.st_ino] = self._scheduler.now

    def _simulated(self, found: os.stat_result) -> os.stat_result:
        key = found.st_dev, found.st_ino
        inode = self._inodes.setdefault(key, len(self._inodes) + 1)
        written = self._written.get(key, self._scheduler.now)
        size = (found.st_mode, inode, 1, found.st_nlink, found.st_uid, found.st_gid, found.st_size)
        return os.stat_result((*size, written, written, written))


class SimulatedFcntl:
    """`fcntl`, as an actor has it: the real flock on the real file."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(fcntl, name)

    def flock(self, fd: int, operation: int) -> None:
        self._scheduler.pause("lock")
        fcntl.flock(fd, operation)


def remove_folder(path: str) -> None:
    """As a logout does: whoever has it open keeps a folder without a name, in which nothing can be made."""
    shutil.rmtree(path, ignore_errors=True)


def texts_in(folder: str, suffix: str) -> list[tuple[str, str]]:
    """(name, text) of the files there, for whoever judges: no await points."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(suffix))
    except OSError:
        return []
    found = []
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            found.append((name, file.read()))
    return found
