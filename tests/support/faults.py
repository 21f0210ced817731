"""What can go wrong at a token endpoint, each once: `api.next.append(faults.busy(retry_after=3))`.

`processed` says whether the refresh token was spent before it went wrong: an answer that is lost on the way is
processed, a gateway's error usually is not, and the caller can't tell the two apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One answer that goes wrong; the functions below are the ways. All fields survive JSON."""

    kind: str  # status, answer, reset, cut, drip_body, drip_headers
    processed: bool = False
    delay: float = 0.0  # seconds before the answer
    status: int = 200
    body: str | None = None  # instead of the answer's JSON
    headers: dict[str, str] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)  # fields of the answer, verbatim
    without: Sequence[str] = ()  # fields of the answer that are left out
    padding: int = 0  # bytes of white space before the body
    interval: float = 1.0  # seconds between two bytes of a drip


def status(code: int, body: str = "", *, processed: bool = False, **headers: str) -> Fault:
    """Any status; header names with `_` for `-`: status(503, Retry_After="2")."""
    return Fault("status", processed, status=code, body=body, headers=_named(headers))


def busy(retry_after: int | str | None = None, code: int = 429) -> Fault:
    """429 (not spent) or 503 (in doubt), with Retry-After as seconds or as an HTTP date."""
    return status(code) if retry_after is None else status(code, Retry_After=str(retry_after))


def oauth(error: str, code: int = 400, description: str | None = None) -> Fault:
    """An OAuth error that has no cause in the grant."""
    text = f', "error_description": "{description}"' if description else ""
    return status(code, f'{{"error": "{error}"{text}}}', Content_Type="application/json")


def html(code: int = 200) -> Fault:
    """A page where JSON should be: a proxy's, a maintenance page."""
    return status(code, "<!doctype html><title>Maintenance</title><p>Back soon.", Content_Type="text/html")


def redirect(location: str, code: int = 307) -> Fault:
    return status(code, Location=location)


def answer(*without: str, processed: bool = True, **changes: Any) -> Fault:
    """The right answer but for some fields: answer(expires_in=-5), answer("access_token")."""
    return Fault("answer", processed, changes=changes, without=without)


def huge(size: int = 10 * 1024 * 1024, *, processed: bool = True) -> Fault:
    """The right answer after `size` bytes of white space."""
    return Fault("answer", processed, padding=size)


def late(seconds: float, *, processed: bool = True) -> Fault:
    """The right answer, but long after the token was spent."""
    return Fault("answer", processed, delay=seconds)


def drip_body(interval: float = 1.0, *, processed: bool = True) -> Fault:
    """A byte of the body at a time: no single read ever times out."""
    return Fault("drip_body", processed, interval=interval)


def drip_headers(interval: float = 1.0, *, processed: bool = True) -> Fault:
    return Fault("drip_headers", processed, interval=interval)


def reset(*, processed: bool) -> Fault:
    """The connection is reset instead of an answer."""
    return Fault("reset", processed)


def cut(*, processed: bool = True) -> Fault:
    """Half of the body, then the end of the connection."""
    return Fault("cut", processed)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
