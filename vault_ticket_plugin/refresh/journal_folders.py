"""The folders that a journal's entries lie in, and how those of another environment are found.

A call under cron, sudo or a login of another kind has another environment, and perhaps other folders. Whoever writes an
entry into a folder that does not follow from the user alone leaves a signpost in one that does, for as long as the
entry is there: a small file with that folder's path.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

from vault_ticket_plugin.folder import Folder, FolderUnusable
from vault_ticket_plugin.places import Places

log = logging.getLogger(__name__)

ENTRY_SUFFIX = ".journal"
SIGNPOST_SUFFIX = ".elsewhere"
# Far more than one user's environments. Each one is a folder that every look goes through.
MAX_SIGNPOSTS = 16


class OpenFolders(NamedTuple):
    """What a look at all folders finds."""

    folders: list[Folder]
    distrusted: list[FolderUnusable]
    """Those that may hold an entry of ours, or may have lost one: of the wrong owner or mode."""


class JournalFolders:
    def __init__(self, runtime: Folder | None, find_places: Callable[[], Places]) -> None:
        self.runtime = runtime
        self._find_places = find_places

    @cached_property
    def places(self) -> Places:
        """Found when first needed: a call that a cached ticket answers does without."""
        return self._find_places()

    @contextlib.contextmanager
    def opened(self) -> Iterator[OpenFolders]:
        """All that are there, each once; those that memory keeps first."""
        opened = OpenFolders([], [])
        with contextlib.ExitStack() as ends:
            if self.runtime is not None:
                opened.folders.append(self.runtime)

            own = self.runtime.path if self.runtime is not None else None
            for path in self._paths():
                if path == own:
                    continue
                try:
                    opened.folders.append(ends.enter_context(Folder(path, create=False)))
                except FolderUnusable as error:
                    if self._may_be_ours(path):
                        opened.distrusted.append(error)
                except OSError:
                    continue  # not there, or in another user's home
            yield opened

    def _paths(self) -> list[str]:
        places = self.places
        return list(dict.fromkeys((*places.runtime, *places.state, *self._signposted())))

    def _may_be_ours(self, path: str) -> bool:
        """Anybody can make a folder in /dev/shm; and one of ours that nobody else can write lost nothing."""
        try:
            found = os.lstat(path)
            if found.st_uid != os.geteuid() and path in self.places.runtime:
                return False
            if found.st_uid == os.geteuid() and found.st_mode & 0o022:
                return True  # whoever can write there may have removed one
            return has_entries(os.listdir(path))
        except OSError:
            return True

    # -- signposts

    def leave_signpost(self, path: str, durable: bool) -> None:
        """Before an entry is written into the folder at `path`."""
        if self.places.signposts is None or path in self.places.fixed:
            return
        try:
            with Folder(self.places.signposts) as folder:
                names = _signposts(folder)
                if _name(path) in names:
                    return

                if len(names) >= MAX_SIGNPOSTS:
                    names = [name for name in names if not _is_stale(folder, name)]
                if len(names) < MAX_SIGNPOSTS:
                    folder.write(_name(path), path, durable)
                else:
                    log.warning("too many signposts in %s: calls elsewhere will not look into %s", folder.path, path)
        except (OSError, ValueError) as error:
            log.info("calls of this user under another environment will not find the journal (%s)", error)

    def clear_signpost(self, path: str) -> None:
        """After an entry was removed from the folder at `path`; another one may still need it."""
        if self.places.signposts is None or path in self.places.fixed or _folder_has_entries(path):
            return
        with contextlib.suppress(OSError), Folder(self.places.signposts, create=False) as folder:
            folder.remove(_name(path))
        if _folder_has_entries(path):  # written in between
            self.leave_signpost(path, durable=True)

    def _signposted(self) -> list[str]:
        paths = []
        if self.places.signposts is not None:
            with contextlib.suppress(OSError), Folder(self.places.signposts, create=False) as folder:
                for name in _signposts(folder)[:MAX_SIGNPOSTS]:
                    with contextlib.suppress(OSError):
                        paths.append(folder.read(name) or "")
        return [path for path in paths if path.startswith("/") and "\0" not in path]


def has_entries(names: list[str]) -> bool:
    return any(name.endswith(ENTRY_SUFFIX) for name in names)


def _folder_has_entries(path: str) -> bool:
    try:
        return has_entries(os.listdir(path))
    except OSError:
        return False


def _signposts(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.endswith(SIGNPOST_SUFFIX)]


def _is_stale(folder: Folder, name: str) -> bool:
    """Whether its folder has no entry any more, as after a logout; it is removed then."""
    if _folder_has_entries(folder.read(name) or "/"):
        return False
    folder.remove(name)
    return True


def _name(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:16] + SIGNPOST_SUFFIX
