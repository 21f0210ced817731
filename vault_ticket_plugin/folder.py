"""A private folder and its files: 0700 and 0600, ours, no links followed, replaced whole or not at all.

Read on the warm path, so it imports next to nothing.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

# Far above any file of ours; a larger one is not ours.
MAX_FILE_BYTES = 1 << 20
# What a writer that was killed left behind. No write of ours takes so long.
STALE_SECONDS = 60.0

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_TEMPORARY = ".new-"


class FolderUnusable(OSError):
    """The folder or file is not safe to use: of another owner, open to others, or a link."""

    def __init__(self, path: str, reason: str | None) -> None:
        super().__init__(errno.EPERM, reason, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class Folder:
    """An open folder. All that is done in it goes through its descriptor, so that nobody can swap it."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str, create: bool = True) -> None:
        """OSError (FolderUnusable among them) if `path` can't be made or must not be used."""
        self.path = path
        if create:
            _make(path)
        self.fd = os.open(path, _FOLDER_FLAGS)
        try:
            _check_owned(os.fstat(self.fd), path)
        except BaseException:
            os.close(self.fd)
            raise

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, name: str) -> str | None:
        """The file's text; None if there is none. FolderUnusable if it is not safely ours."""
        try:
            fd = os.open(name, _READ_FLAGS, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        except OSError as error:  # ELOOP: a link stands there
            raise FolderUnusable(f"{self.path}/{name}", error.strerror) from None

        try:
            found = os.fstat(fd)
            _check_owned(found, f"{self.path}/{name}")
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
                raise FolderUnusable(f"{self.path}/{name}", "not a file of ours")
            text = b""
            while piece := os.read(fd, MAX_FILE_BYTES):
                text += piece
            return text.decode("utf-8", "replace")
        finally:
            os.close(fd)

    def write(self, name: str, text: str, durable: bool = False) -> None:
        """Put the whole file in place at once; `durable` waits until the disk has file and folder."""
        temporary = f"{_TEMPORARY}{os.urandom(8).hex()}"
        fd = os.open(
            temporary,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=self.fd,
        )

        try:
            try:
                self._sweep(os.fstat(fd).st_mtime)
                rest = memoryview(text.encode())
                while rest:
                    rest = rest[os.write(fd, rest) :]
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)

            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            self.remove(temporary)
            raise

        if durable:
            os.fsync(self.fd)

    def remove(self, name: str, durable: bool = False) -> None:
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        if durable:
            os.fsync(self.fd)

    def names(self) -> list[str]:
        """The files here, temporary ones left out."""
        return sorted(name for name in os.listdir(self.fd) if not name.startswith(_TEMPORARY))

    def sweep(self, suffix: str, beside: str, seconds: float) -> None:
        """Remove the files with that suffix that were written so long before the file `beside`."""
        now = os.stat(beside, dir_fd=self.fd, follow_symlinks=False).st_mtime
        self._remove_old([name for name in self.names() if name.endswith(suffix)], now - seconds)

    def _sweep(self, now: float) -> None:
        """Remove what killed writers left: each may hold a token. `now`: by the file system's clock."""
        self._remove_old([name for name in os.listdir(self.fd) if name.startswith(_TEMPORARY)], now - STALE_SECONDS)

    def _remove_old(self, names: list[str], before: float) -> None:
        for name in names:
            try:
                if os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mtime < before:
                    self.remove(name)
            except OSError:
                continue  # another sweeper was quicker


def _make(path: str) -> None:
    """The folder and those above it; another process may be making them at the same time."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(path, 0o700, exist_ok=True)


def _check_owned(found: os.stat_result, path: str) -> None:
    if found.st_uid != os.geteuid():
        raise FolderUnusable(path, "belongs to another user")
    if found.st_mode & 0o077:
        wanted = "0700" if stat.S_ISDIR(found.st_mode) else "0600"
        raise FolderUnusable(path, f"is open to other users: mode {stat.S_IMODE(found.st_mode):04o}, wanted {wanted}")
