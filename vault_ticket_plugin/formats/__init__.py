"""How a ticket is printed: one small pure function for each protocol, one registry.

A format gives the text without its last newline. The plain ones are one line and need nothing but the ticket, so
the cache keeps their text and the warm path prints it. docs/formats.md shows each with its client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

from vault_ticket_plugin.formats import curl, google, terraform
from vault_ticket_plugin.formats.interface import Context, Format
from vault_ticket_plugin.formats.plain import as_env, as_header, as_json, as_token
from vault_ticket_plugin.model import Ticket

Plain = Callable[[Ticket], str]

PLAIN: Mapping[str, Plain] = {
    "json": as_json,
    "token": as_token,
    "header": as_header,
    "env": as_env,
    "curl": curl.show,
    "google": google.show,
    "terraform": terraform.show,
}


def _plain(name: str) -> Callable[[Ticket, Context], str]:
    return lambda ticket, _context: PLAIN[name](ticket)


# Each is a module here of the same name, with the format as its FORMAT.
OTHERS = ("aws", "bazel", "github-actions", "kubernetes")


class _Registry(Mapping[str, Format]):
    """Imports a module of OTHERS when its format is asked for: no call needs more than one."""

    _plain: Mapping[str, Format] = {
        **{name: Format(_plain(name)) for name in ("json", "token", "header", "env", "curl")},
        "google": Format(_plain("google"), fail=google.fail, quiet=True),
        "terraform": Format(_plain("terraform"), one_line=True),
    }

    def __getitem__(self, name: str) -> Format:
        if name not in OTHERS:
            return self._plain[name]
        found: Format = import_module(f"{__name__}.{name.replace('-', '_')}").FORMAT
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted((*self._plain, *OTHERS)))

    def __len__(self) -> int:
        return len(self._plain) + len(OTHERS)


FORMATS: Mapping[str, Format] = _Registry()
