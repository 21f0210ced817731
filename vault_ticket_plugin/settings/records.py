"""Settings, frozen and already checked: what `config` makes of a file and the environment."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import Location, Windows
from vault_ticket_plugin.secret import Secret

AuthMethod = Literal["token", "approle", "kubernetes", "jwt", "cert", "none"]
AUTH_METHODS: tuple[AuthMethod, ...] = get_args(AuthMethod)
Lease = Literal["delete", "field"]
LEASES: tuple[Lease, ...] = get_args(Lease)

DEFAULT_TOKEN_URL = "https://api.socialboards.com/token"  # noqa: S105 - where tokens are had, not a token
# Below the 30 s after which an agent kills its plugin, and as long as a leader election was seen to take.
DEFAULT_TIMEOUT = 20.0
# All tries of one spend together. Ten times what a healthy token endpoint takes, and short enough for two
# holders in a row to be done within DEFAULT_TIMEOUT.
DEFAULT_REQUEST_TIMEOUT = 8.0
DEFAULT_CLAIM_TIME = 15.0
# A claim must outlast the spend, the two ends' clock steps (1 s each) and a write to Vault that is tried again.
CLAIM_MARGIN = 1.5
# How long after a spend of unknown outcome the same refresh token is tried again while a usable ticket is at hand.
# Servers with a grace usually allow a minute or less.
DEFAULT_REUSE_GRACE = 30.0
# Where an answer has neither `expires_in` nor a JWT: what the Ticket API's tokens live.
DEFAULT_LIFETIME = 3600.0
# As hvac and the servers' own clients have it.
DEFAULT_CLIENT_TIMEOUT = 30.0
# Whoever may connect is told from others by the kernel, not by the file's mode.
DEFAULT_SOCKET_MODE = 0o666
# Each waits for Vault or the token endpoint most of its time; more would only crowd a small Vault.
DEFAULT_WORKERS = 8
# More than a host's own programs need, far less than it takes to keep the daemon from others.
DEFAULT_RATE = 500.0
DEFAULT_HOOK_TIMEOUT = 10.0
# The ports that a host's name means by itself.
PORTS = {"https": 443, "http": 80}


class Tls(NamedTuple):
    """How to verify a server and show ourselves; paths of PEM files. Without a CA the system's own are used."""

    ca_file: str | None = None
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Auth:
    """How to log in to Vault. Files are read at login, so that a rotated one is picked up."""

    method: AuthMethod
    mount: str = ""
    role: str = ""
    role_id: str = ""
    secret_id_file: str | None = None
    wrapped: bool = False
    jwt_file: str | None = None
    token_file: str | None = None
    token: Secret | None = None

    def identity(self) -> tuple[str, ...]:
        """What tells this login from another, without a secret."""
        token = self.token.fingerprint() if self.token else ""
        files = (self.secret_id_file, self.jwt_file, self.token_file)
        return (self.method, self.mount, self.role, self.role_id, token, *(path or "" for path in files))


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """`address` is the base URL; with `unix_socket` it only fills the Host header."""

    address: str
    auth: Auth
    namespace: str | None = None
    unix_socket: str | None = None
    tls: Tls = field(default_factory=Tls)
    client_timeout: float = DEFAULT_CLIENT_TIMEOUT

    @property
    def shown(self) -> str:
        return f"unix://{self.unix_socket}" if self.unix_socket else self.address


class Allow(NamedTuple):
    """Whom the daemon's unix socket gives a ticket beside itself and root: numbers of users and groups."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


NOBODY_ELSE = Allow()


class Listener(NamedTuple):
    """Where the daemon listens: the path of a unix socket, or else a loopback host and a port."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


class DaemonSettings(NamedTuple):
    """`workers`: refreshes under way at once. `rate`: requests a second that one caller may make.

    `credentials`: the path of a socket that gives a bare token to systemd's LoadCredential=. `audit`: the path of a
    file, or `-` for standard error, or None. `hooks`: by the name of what happens, the command and its arguments.
    """

    listen: tuple[Listener, ...] = ()
    socket_mode: int = DEFAULT_SOCKET_MODE
    credentials: str | None = None
    workers: int = DEFAULT_WORKERS
    rate: float = DEFAULT_RATE
    audit: str | None = None
    hooks: Mapping[str, tuple[str, ...]] = {}
    hook_timeout: float = DEFAULT_HOOK_TIMEOUT


NOT_CONFIGURED = DaemonSettings()


@dataclass(frozen=True, slots=True)
class Profile:
    """A named credential: which grant is spent where, and where the ticket is published. Spans are seconds.

    `hosts`: who may get the ticket from a program that names the host it talks to (host_name); no other does.
    """

    name: str
    grant: Location
    ticket: Location
    client_id: str | None = None
    token_url: str = DEFAULT_TOKEN_URL
    revocation_url: str | None = None
    ca_cert: str | None = None
    lease: Lease = "delete"
    windows: Windows = field(default_factory=Windows)
    default_lifetime: float = DEFAULT_LIFETIME
    request_timeout: float = DEFAULT_REQUEST_TIMEOUT
    claim_time: float = DEFAULT_CLAIM_TIME
    reuse_grace: float = DEFAULT_REUSE_GRACE
    hosts: tuple[str, ...] = ()
    allow: Allow = NOBODY_ELSE

    def serves(self, host: str, scheme: str = "https") -> bool:
        """Whether the ticket may go to HOST or HOST:PORT: it is one of `hosts`, and nobody can listen on the way."""
        name = host_name(host, PORTS.get(scheme))
        secure = scheme == "https" or (scheme == "http" and is_loopback(urlsplit(f"//{name}").hostname or ""))
        return bool(name) and secure and name in self.hosts

    @classmethod
    def standard(cls, name: str) -> Profile:
        """A profile that nobody configured: the default paths."""
        return cls(name, grant_location(name), ticket_location(name))


@dataclass(frozen=True, slots=True)
class Settings:
    """`path`: the file they came from, or None; `stamp`: its state when it was read (warm.stamp).

    `profiles` is empty where none is configured. `socket`: a daemon's, asked before Vault.
    """

    vault: VaultSettings
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    path: str | None = None
    stamp: str = "-"
    cache: bool = True
    timeout: float = DEFAULT_TIMEOUT
    socket: str | None = None
    daemon: DaemonSettings = NOT_CONFIGURED

    def profile(self, name: str) -> Profile:
        """The profile of that name; without any configured profile every name stands for the default paths."""
        if name in self.profiles:
            return self.profiles[name]
        if self.profiles:
            raise ConfigError(
                f"{self.path}: there is no profile {name!r}",
                f"It has: {', '.join(sorted(self.profiles))}. Name one of them, or add [profiles.{name}].",
            )
        return Profile.standard(name)

    def identity(self, profile: Profile) -> str:
        """A fingerprint of everything that decides which ticket a profile means."""
        parts = (
            *(self.vault.shown, self.vault.namespace or "", *self.vault.auth.identity()),
            *(profile.name, str(profile.ticket), str(profile.ticket.kv_version), profile.client_id or ""),
            *(self.grant_identity(profile), profile.token_url, self.socket or ""),
        )
        return _fingerprint(parts)

    def grant_identity(self, profile: Profile) -> str:
        """A fingerprint of where the grant is kept: what a journal's entry belongs to."""
        return _fingerprint((self.vault.shown, self.vault.namespace or "", str(profile.grant)))


def no_address() -> ConfigError:
    return ConfigError(
        "no Vault address is configured",
        "Set VAULT_ADDR (or BAO_ADDR), or `address` under [vault] in ~/.config/vault-ticket/config.toml.",
    )


def grant_location(name: str) -> Location:
    return Location("secret", f"ticket/{name}/grant")


def ticket_location(name: str) -> Location:
    return Location("secret", f"ticket/{name}/token")


def host_name(text: str, port: int | None = PORTS["https"]) -> str:
    """HOST or HOST:PORT in lower case, without the port that is meant anyway; empty where it is neither."""
    try:
        parts = urlsplit(f"//{text}")
        name, given = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.netloc != text or "@" in text or not name.isascii() or not name.isprintable() or " " in name:
        return ""
    if ":" in name:
        name = f"[{name}]"
    return name if given in (None, port) else f"{name}:{given}"


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _fingerprint(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
