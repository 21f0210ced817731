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
├── ProtocolError           76  the answer is not OAuth
├── VaultDenied             77  Vault says no to our token
│   └── TokenRefused        77  the same, because it does not know it: wrong, expired or revoked
├── GrantRejected           77  the refresh token is dead: a person must make a new one
├── ConfigError             78  the configuration is wrong
└── ClientRejected          78  the token endpoint refuses the Client ID or the request

The codes are those of sysexits.h where it has one that fits. 2 is click's own, for usage.
"""

from __future__ import annotations

from typing import ClassVar


class VaultTicketError(Exception):
    """One fact (`message`) and what to do about it (`hint`); never a secret in either."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class StoredDataInvalid(VaultTicketError):
    exit_code = 65


class GrantMissing(VaultTicketError):
    exit_code = 66


class VaultUnreachable(VaultTicketError):
    exit_code = 69


class CasMismatch(VaultTicketError):
    exit_code = 69


class SaveFailed(VaultTicketError):
    exit_code = 74


class OutputLost(VaultTicketError):
    exit_code = 74


class EndpointUnavailable(VaultTicketError):
    """`retry_after`: seconds that the server asked for (RFC 9110 section 10.2.3), else None."""

    exit_code = 75

    def __init__(self, message: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class SpendInDoubt(EndpointUnavailable):
    pass


class Busy(VaultTicketError):
    exit_code = 75


class ProtocolError(VaultTicketError):
    exit_code = 76


class VaultDenied(VaultTicketError):
    exit_code = 77


class TokenRefused(VaultDenied):
    pass


class GrantRejected(VaultTicketError):
    """`code`: the error code of RFC 6749 section 5.2."""

    exit_code = 77

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class ConfigError(VaultTicketError):
    exit_code = 78


class ClientRejected(VaultTicketError):
    """`code`: the error code of RFC 6749 section 5.2."""

    exit_code = 78

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint)
        self.code = code
