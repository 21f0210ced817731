"""What goes to Vault's API and what comes back, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vault_ticket_plugin.secret import Secret

# What Vault says in an error is quoted up to this length.
MAX_QUOTE = 200


class VaultRequest(NamedTuple):
    """One API call."""

    method: str
    path: str
    """Below /v1/."""
    body: Mapping[str, Any] | None = None
    query: str = ""
    headers: Mapping[str, str] = {}
    token: Secret | None = None
    """In place of the session's own."""
    anonymous: bool = False
    """With no token at all."""
    namespace: str | None = None
    """In place of the configured one. Empty for paths that only the root namespace has: OpenBao refuses the header
    there."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def __repr__(self) -> str:
        return f"VaultRequest({self})"


class VaultResponse(NamedTuple):
    """An answer to work with, and the JSON object that came with it (empty if none did)."""

    body: Mapping[str, Any]
    cached: bool = False
    """Whether a proxy on the way answered from memory (`X-Cache: HIT`)."""
    retried: bool = False
    """Whether an earlier try of the request may have been done, its answer lost."""

    @property
    def errors(self) -> str:
        """Vault's own words, made safe to print."""
        return words_of(self.body)

    @property
    def data(self) -> Mapping[str, Any]:
        """`data`, empty if there is none."""
        found = self.body.get("data")
        return found if isinstance(found, Mapping) else {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Ok(VaultResponse):
    """Done (200, 204)."""


class Missing(VaultResponse):
    """Nothing is there, or not any more (404)."""


class Invalid(VaultResponse):
    """Vault does not take the request as it is (400)."""


def words_of(body: Mapping[str, Any]) -> str:
    """Vault's own words in an error, made safe to print."""
    said = body.get("errors")
    return printable("; ".join(str(one) for one in said)) if isinstance(said, list) else ""


def printable(words: str) -> str:
    """What another host said, fit for a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in words)[:MAX_QUOTE].split())
