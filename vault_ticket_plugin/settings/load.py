"""The whole configuration, from a TOML file and the environment: frozen, and already checked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from vault_ticket_plugin import environment, warm
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings import daemon, profile, vault
from vault_ticket_plugin.settings.daemon import NOT_CONFIGURED, DaemonSettings
from vault_ticket_plugin.settings.profile import GrantAddress, Profile
from vault_ticket_plugin.settings.table import Table
from vault_ticket_plugin.settings.vault import VaultSettings

# Below the 30 s after which an agent kills its plugin, and as long as a leader election was seen to take.
DEFAULT_TIMEOUT = 20.0

log = logging.getLogger(__name__)


class Settings(NamedTuple):
    """What is in force for a call."""

    vault: VaultSettings
    profiles: Mapping[str, Profile] = {}
    """Empty if none is configured: every name then stands for the default paths."""
    path: str | None = None
    """The file that they came from."""
    config_version: str = "-"
    """The file's state when it was read (`warm.config_version`)."""
    cache: bool = True
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that a call may take."""
    socket: str | None = None
    """A daemon's, asked before Vault."""
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

    def ticket_key(self, profile: Profile) -> str:
        """A fingerprint of everything that decides which ticket a profile means."""
        return _fingerprint(
            *(self.vault.shown, self.vault.namespace or "", *self.vault.auth.identity()),
            *(profile.name, str(profile.ticket), str(profile.ticket.kv_version), profile.client_id or ""),
            *(self.grant_key(profile), profile.token_url, self.socket or ""),
        )

    def grant_key(self, profile: Profile) -> str:
        """A fingerprint of where the grant is kept."""
        return _fingerprint(self.vault.shown, self.vault.namespace or "", str(profile.grant))

    def grant_address(self, profile: Profile) -> GrantAddress:
        """What a journal's entry belongs to."""
        document = _fingerprint(self.vault.namespace or "", profile.grant.mount, profile.grant.path)
        return GrantAddress(self.grant_key(profile), document, self.vault.shown)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in force. ConfigError names the file or variable, the key and what is allowed."""
    path = environment.config_path(environ)
    # Taken before the file is read: a change in between then shows as one.
    config_version = _stamp(path)
    root = Table(path or "", "", _parsed(path) if path else {})

    vault_table, profiles, daemon_table = root.table("vault"), root.table("profiles"), root.table("daemon")
    socket = root.get("socket", None, "", daemon.socket_path)
    cache = root.flag("cache", True)
    timeout = root.duration("timeout", DEFAULT_TIMEOUT, least=1.0)
    root.reject_unknown_keys()  # first of all: a misspelt [vault] would else be told as a missing address

    names = profiles.names()
    _check_case(path, names)
    configured = {name: profile.read(name, profiles.table(name)) for name in names}
    _check_ticket_paths(path, configured.values())
    if any(profiles.table(name).has("claim_time") for name in names):
        log.warning("%s: claim_time has no effect any more, since request_timeout decides it: remove it", path)
    return Settings(
        vault=vault.read(vault_table, environ, needed=socket is None),
        profiles=configured,
        path=path,
        config_version=config_version,
        cache=cache,
        timeout=timeout,
        socket=socket,
        daemon=daemon.read(daemon_table),
    )


def _check_case(path: str | None, names: list[str]) -> None:
    """Vault has its policies' names in lower case, so that two such profiles would share theirs."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ConfigError(
                f"{path}: profiles.{other} and profiles.{name} differ only by case",
                "Rename one of them: Vault would have one policy for both.",
            )


def _check_ticket_paths(path: str | None, profiles: Iterable[Profile]) -> None:
    """Each would hand out what the other published."""
    seen: dict[str, str] = {}
    for one in profiles:
        other = seen.setdefault(str(one.ticket), one.name)
        if other != one.name:
            raise ConfigError(
                f"{path}: profiles.{other} and profiles.{one.name} have one ticket path, {one.ticket}",
                f'Give one of them another `ticket`, like ticket = {{ path = "ticket/{one.name}/token" }}.',
            )


def _stamp(path: str | None) -> str:
    try:
        return warm.config_version(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _parsed(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{path}: is not TOML: {error}", "Correct it in that file.") from None


def _unreadable(path: str | None, error: OSError) -> ConfigError:
    reason = (error.strerror or "").lower()
    return ConfigError(f"{path}: can't be read ({reason})", "Correct its path or its permissions.")


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
