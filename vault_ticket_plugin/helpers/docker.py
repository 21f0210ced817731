"""Docker and other clients of registries: a credential helper.

https://github.com/docker/docker-credential-helpers: `get` reads a registry's address and prints a JSON object of
three texts; `list` prints a map of addresses to user names. A failure is exit 1 with its reason on standard output,
and one sentence there means that there is nothing for this registry.
"""

from __future__ import annotations

import json

from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.hosts import host_name
from vault_ticket_plugin.settings.profile import Profile

# Registries that take a token as the password ignore the name, or want a certain one.
USERNAME = "oauth2"
# By this name clients know a refresh token, and would spend it at the registry's token service.
REFRESH_TOKEN = "<token>"  # noqa: S105 - a name
# Clients compare these letter for letter.
NOT_FOUND = "credentials not found in native keychain"
NO_ADDRESS = "no credentials server URL"


def serves(profile: Profile, address: str) -> bool:
    """HOST, HOST:PORT or a URL. Without a scheme it is the name of a registry, which is HTTPS to the clients."""
    host, scheme = _parts(address)
    return profile.serves(host, scheme)


def names(profile: Profile, address: str) -> bool:
    """Whether the profile names the host, whatever the scheme: a logout tries them all."""
    return profile.serves(_parts(address)[0])


def shown(address: str) -> str:
    """For a message: an address may have a password in it."""
    return host_name(_parts(address)[0]) or "this registry"


def _parts(address: str) -> tuple[str, str]:
    scheme, mark, rest = address.partition("://")
    return (rest if mark else address).partition("/")[0], scheme.lower() if mark else "https"


def answer(ticket: Ticket, address: str, username: str) -> str:
    return json.dumps({"ServerURL": address, "Username": username, "Secret": ticket.access_token.reveal()})


def listing(profile: Profile, username: str) -> str:
    return json.dumps(dict.fromkeys(profile.hosts, username))


def offered(text: str) -> tuple[str, str, Secret] | None:
    """Address, user name and secret that a client wants to be stored; None if it is no such thing."""
    try:
        given = json.loads(text)
        values = [given[name] for name in ("ServerURL", "Username", "Secret")]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        return None
    return values[0], values[1], Secret(values[2])


def reason(error: VaultTicketError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message
