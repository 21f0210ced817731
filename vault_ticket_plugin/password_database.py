"""What the password database says of a user. It may be a server far away that does not answer."""

from __future__ import annotations

import functools
import threading

# A call with a usable ticket has 3 s for all that it does.
ANSWER_SECONDS = 0.5


@functools.cache
def home(user: int) -> str | None:
    """The user's home folder; None without an entry, or if there is no answer in time. It is asked once."""
    found: list[str] = []
    asking = threading.Thread(target=_ask, args=(user, found), daemon=True)
    try:
        asking.start()
    except RuntimeError:  # no thread to be had, or the interpreter is ending
        return None
    asking.join(ANSWER_SECONDS)
    return found[0] if found and found[0].startswith("/") else None


def _ask(user: int, found: list[str]) -> None:
    import pwd

    try:
        found.append(pwd.getpwuid(user).pw_dir)
    except KeyError:
        return
