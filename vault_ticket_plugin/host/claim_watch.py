"""What this host has seen of other hosts' claims, so that the next call goes on watching."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from vault_ticket_plugin.folder import Folder
from vault_ticket_plugin.host.lock import boot_id
from vault_ticket_plugin.refresh.watch import Watch


class FileWatches:
    """`Watches` (refresh/watch.py), in the runtime folder; in memory where there is none, or no boot to tell from
    another."""

    def __init__(self, folder: Folder | None, name: str, boot: Callable[[], str | None] = boot_id) -> None:
        self._folder = folder
        self._name = name
        self._boot = boot
        self._watch: Watch | None = None

    def read(self) -> Watch | None:
        boot = self._boot()
        if self._folder is not None and boot is not None:
            with contextlib.suppress(OSError, ValueError):
                said, since, version = (self._folder.read(self._name) or "").split(" ", 2)
                return Watch(version, float(since)) if said == boot else None
        return self._watch

    def keep(self, watch: Watch) -> None:
        before, self._watch = self.read(), watch
        boot = self._boot()
        if self._folder is not None and boot is not None and watch != before:
            with contextlib.suppress(OSError):
                self._folder.write(self._name, f"{boot} {watch.since!r} {watch.version}")

    def forget(self) -> None:
        self._watch = None
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.remove(self._name)
