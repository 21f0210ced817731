"""Every way to fail, each with one fact, one hint and one exit code.

VaultTicketError            70  anything that no class below names: our bug
├── StoredDataInvalid       65  what Vault holds is not what it should be
├── GrantMissing            66  nobody has stored a refresh token yet
├── VaultUnreachable        69  no answer from Vault, or a sealed one: retry later
├── CasMismatch             69  somebody else wrote first (handled inside; seen only if it never ends)
├── SaveFailed              74  a rotated refresh token could not be put anywhere safe: the loud one
├── OutputLost              74  standard output can't be written
├── EndpointUnavailable     75  the token endpoint is away or busy; the refresh token was not spent
│   └── SpendInDoubt        75  the same, but the refresh token may have been spent
├── Busy                    75  another holder has the claim, and the caller's patience is over
├── SpendEnded              75  the process that was refreshing was ended before it could say how that went
├── ProtocolError           76  the answer is not OAuth
├── VaultDenied             77  Vault says no to our token
│   └── TokenRefused        77  the same, because it does not know it: wrong, expired or revoked
├── GrantRejected           77  the refresh token is dead: a person must make a new one
├── ConfigError             78  the configuration is wrong
└── ClientRejected          78  the token endpoint refuses the Client ID or the request

The codes are those of sysexits.h where it has one that fits. 2 is click's own, for usage; 126 and 127 are `exec`'s, for
a command that can't be run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, ClassVar

# What another process wrote of an error is quoted up to this length.
MAX_QUOTE = 1000
# What env(1) and the shells return for a command that can't be run, and that is not there.
COMMAND_NOT_EXECUTABLE, COMMAND_NOT_FOUND = 126, 127
# What a shell reports for a process that a signal ended: this and the signal's number.
BY_SIGNAL = 128


class VaultTicketError(Exception):
    """One fact (`message`) and what to do about it (`hint`); never a secret in either."""

    exit_code: int = 70
    http_status: ClassVar[int] = 502
    """What the daemon answers with (RFC 9110); 503 for what a later try may mend."""
    needs_person: ClassVar[bool] = False
    """Whether time alone will not mend it."""

    def __init__(self, message: str, hint: str = "", *, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = hint
        self.code = code
        """The error code of RFC 6749 section 5.2, if there is one."""
        self.retry_after = retry_after
        """Seconds that the server asked for (RFC 9110 section 10.2.3)."""
        self.remembered_for: float | None = None
        """Seconds for which this, found a while ago, is not asked about again."""

    @property
    def hint(self) -> str:
        if self.remembered_for is None:
            return self.advice
        again = f"(This is remembered for {math.ceil(self.remembered_for)} s more; --force asks now.)"
        return f"{self.advice} {again}".lstrip()

    @property
    def name(self) -> str:
        """What an account of it says: OAuth's own code, else the class."""
        return self.code or type(self).__name__

    def to_plain(self) -> dict[str, Any]:
        """As JSON has it, in the words of problem details (RFC 9457); `from_plain` reads it back."""
        plain: dict[str, Any] = {
            "title": type(self).__name__,
            "detail": self.message,
            "hint": self.advice,
            "exit_code": self.exit_code,
        }
        if self.code:
            plain["code"] = self.code
        if self.retry_after is not None:
            plain["retry_after"] = self.retry_after
        return plain

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> VaultTicketError:
        """The error that `to_plain` wrote. One of a class that is not known here is told as the base, with its own
        exit code. ValueError if it is no such thing."""
        try:
            title, detail, hint, code = plain["title"], plain["detail"], plain["hint"], plain.get("code", "")
            if not all(isinstance(text, str) for text in (title, detail, hint, code)) or not detail:
                raise ValueError("not an error of ours")
            kind = CLASSES.get(title, VaultTicketError)
            error = kind(_printable(detail), _printable(hint), code=_printable(code))

            exit_code, retry_after = plain["exit_code"], plain.get("retry_after")
            if isinstance(exit_code, bool) or not isinstance(exit_code, int) or not 0 < exit_code < BY_SIGNAL:
                raise ValueError("not an exit code")
            if kind is VaultTicketError:
                error.exit_code = exit_code
            if retry_after is not None:
                error.retry_after = float(retry_after)
                if not 0 <= error.retry_after < math.inf:  # NaN is not
                    raise ValueError("not a number of seconds")
        except (KeyError, TypeError, AttributeError, OverflowError):
            raise ValueError("not an error of ours") from None
        return error


class StoredDataInvalid(VaultTicketError):
    exit_code = 65
    needs_person = True


class GrantMissing(VaultTicketError):
    exit_code = 66
    needs_person = True


class VaultUnreachable(VaultTicketError):
    exit_code = 69
    http_status = 503


class CasMismatch(VaultTicketError):
    exit_code = 69
    http_status = 503
    maybe_ours: bool = False
    """Whether an earlier try of the same write may have arrived, its answer lost."""


class SaveFailed(VaultTicketError):
    exit_code = 74


class OutputLost(VaultTicketError):
    exit_code = 74


class EndpointUnavailable(VaultTicketError):
    exit_code = 75
    http_status = 503


class SpendInDoubt(EndpointUnavailable):
    pass


class Busy(VaultTicketError):
    exit_code = 75
    http_status = 503


class SpendEnded(VaultTicketError):
    exit_code = 75
    http_status = 503


class ProtocolError(VaultTicketError):
    exit_code = 76


class VaultDenied(VaultTicketError):
    exit_code = 77
    needs_person = True


class TokenRefused(VaultDenied):
    pass


class GrantRejected(VaultTicketError):
    exit_code = 77
    needs_person = True


class ConfigError(VaultTicketError):
    exit_code = 78
    needs_person = True


class ClientRejected(VaultTicketError):
    exit_code = 78
    needs_person = True


CLASSES: Mapping[str, type[VaultTicketError]] = {
    kind.__name__: kind
    for kind in (
        *(StoredDataInvalid, GrantMissing, VaultUnreachable, CasMismatch, SaveFailed, OutputLost),
        *(EndpointUnavailable, SpendInDoubt, Busy, SpendEnded, ProtocolError, VaultDenied, TokenRefused, GrantRejected),
        *(ConfigError, ClientRejected, VaultTicketError),
    )
}


def bug(error: BaseException) -> VaultTicketError:
    """What is told of an exception that is no error of ours. Its own text stays out: it may quote a value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "an unknown place"
    if trace is not None:
        place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
    return VaultTicketError(
        f"this is a bug in vault-ticket: {type(error).__name__} at {place}",
        "Please report it with this line and what `vault-ticket --version` prints.",
    )


def _printable(words: str) -> str:
    """What another process said, fit for a terminal."""
    return "".join(c if c.isprintable() else " " for c in words)[:MAX_QUOTE]
