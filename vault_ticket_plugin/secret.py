"""Secret: a text that never prints, formats, pickles or joins. Its one exit is `reveal()`."""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn, final

# 64 bits: enough that two of one profile's tokens never share a fingerprint, and far too few to help
# anybody who would guess a token (which a server draws from at least 128 bits, RFC 6749 section 10.10).
FINGERPRINT_DIGITS = 16


@final
class Secret:
    """A refresh token, an access token, a Vault token or a secret id.

    It is not a `str`, so joining or concatenating it is a TypeError; what a format string, a log line, a
    traceback or a debugger prints of it is `<secret>`. tests/test_architecture.py names the modules that may call
    `reveal()`.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """The text itself, for the one line that sends, stores or prints it."""
        return self._value

    def fingerprint(self, *context: str) -> str:
        """16 hexadecimal digits that name this secret (in this context) without telling it."""
        digest = hashlib.sha256("\0".join((self._value, *context)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:FINGERPRINT_DIGITS]

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("<secret>", spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (one._value.encode("utf-8", "surrogatepass") for one in (self, other))
        return hmac.compare_digest(mine, theirs)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self._value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled or copied out")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self
