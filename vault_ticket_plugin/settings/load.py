"""Settings from a TOML file and the environment. Every rule between keys is checked here.

What the file says wins; the environment fills in what it leaves out (docs/decisions/0002).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from vault_ticket_plugin import environment, warm
from vault_ticket_plugin.durations import parse_duration, show_duration
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.model import SOFT_DEFAULT, Location, Windows
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings import daemon as daemon_table
from vault_ticket_plugin.settings.records import (
    AUTH_METHODS,
    CLAIM_MARGIN,
    DEFAULT_CLAIM_TIME,
    DEFAULT_CLIENT_TIMEOUT,
    DEFAULT_LIFETIME,
    DEFAULT_REQUEST_TIMEOUT,
    DEFAULT_REUSE_GRACE,
    DEFAULT_TIMEOUT,
    DEFAULT_TOKEN_URL,
    LEASES,
    Auth,
    Profile,
    Settings,
    Tls,
    VaultSettings,
    grant_location,
    host_name,
    is_loopback,
    no_address,
    ticket_location,
)
from vault_ticket_plugin.settings.table import Table, text_value

T = TypeVar("T")
Address = tuple[str, str | None]  # base URL, and the path of a unix socket where it is one

KUBERNETES_JWT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
# Which keys of `auth` each method has beside `method`, and which of them must be there.
AUTH_KEYS: Mapping[str, tuple[str, ...]] = {
    "token": ("token_file",),
    "approle": ("role_id", "secret_id_file", "wrapped", "mount"),
    "kubernetes": ("role", "jwt_file", "mount"),
    "jwt": ("jwt_file", "role", "mount"),
    "cert": ("role", "mount"),
    "none": (),
}
AUTH_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "approle": ("role_id",),
    "kubernetes": ("role",),
    "jwt": ("jwt_file",),
}


def load(environ: Mapping[str, str]) -> Settings:
    """The settings in force. ConfigError names the file or variable, the key and what is allowed."""
    path = environment.config_path(environ)
    # Taken before the file is read: a change in between then shows as one.
    stamp = _stamp(path)
    root = Table(path or "", "", _read(path) if path else {})
    vault, profiles, daemon = root.table("vault"), root.table("profiles"), root.table("daemon")
    socket = root.get("socket", None, "", daemon_table.socket_path)
    cache = root.flag("cache", True)
    timeout = root.duration("timeout", DEFAULT_TIMEOUT, least=1.0)
    root.no_more()  # first of all: a misspelt [vault] would else be told as a missing address
    return Settings(
        vault=_vault(vault, environ, needed=socket is None),
        profiles={name: _profile(name, profiles.table(name)) for name in profiles.names()},
        path=path,
        stamp=stamp,
        cache=cache,
        timeout=timeout,
        socket=socket,
        daemon=daemon_table.read(daemon),
    )


def _stamp(path: str | None) -> str:
    try:
        return warm.stamp(path)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | None, error: OSError) -> ConfigError:
    reason = (error.strerror or "").lower()
    return ConfigError(f"{path}: can't be read ({reason})", "Correct its path or its permissions.")


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{path}: is not TOML: {error}", "Correct it in that file.") from None


def _vault(table: Table, environ: Mapping[str, str], needed: bool) -> VaultSettings:
    """`needed`: an address must be there; who asks a daemon may do without."""

    def variable(name: str) -> str | None:
        return _variable(environ, name, str)

    nothing: Address | None = None
    configured = table.get("address", nothing, "", _address)
    agent = None if configured else _variable(environ, "AGENT_ADDR", _address)
    # Adds its own token and gets none of ours, so the file need not protect a login from it (docs/decisions/0011).
    listener = _named(environ, "VAULT_TICKET_AGENT", _address)
    address = listener or configured or agent or _variable(environ, "ADDR", _address)
    auth = table.table("auth")
    namespace = table.get("namespace", "", "", _namespace) or _variable(environ, "NAMESPACE", _namespace) or None
    tls = Tls(
        ca_file=table.path("ca_cert") or variable("CACERT"),
        ca_path=table.path("ca_path") or variable("CAPATH"),
        client_cert=table.path("client_cert") or variable("CLIENT_CERT"),
        client_key=table.path("client_key") or variable("CLIENT_KEY"),
        server_name=table.text("tls_server_name") or variable("TLS_SERVER_NAME"),
        verify=not table.flag("skip_verify", _variable(environ, "SKIP_VERIFY", _truth) or False),
    )
    said = _variable(environ, "CLIENT_TIMEOUT", parse_duration)
    client_timeout = table.duration("client_timeout", said or DEFAULT_CLIENT_TIMEOUT, least=0.1)
    table.no_more()
    if address is None and needed:
        raise no_address()
    url, unix_socket = address or ("", None)
    login = _auth(auth, environ, through_agent=bool(agent or unix_socket))
    settings = VaultSettings(
        address=url,
        unix_socket=unix_socket,
        auth=Auth("none") if listener else login,
        namespace=namespace,
        tls=tls,
        client_timeout=client_timeout,
    )
    if settings.auth.method == "cert" and not settings.tls.client_cert:
        raise table.wrong("client_cert", "a certificate's path, since auth.method is cert (or VAULT_CLIENT_CERT)")
    return settings


def _namespace(value: object) -> str:
    text = text_value(value).strip("/")
    if not text.isascii():  # it goes into a header
        raise ValueError("a namespace's path like ops/eu, in plain letters")
    return text


def _address(value: object) -> Address:
    text = text_value(value)
    if text.startswith("unix:///"):
        return "http://localhost", text.removeprefix("unix://")
    parts = _url_parts(text)
    if parts is None or parts.scheme not in ("http", "https") or parts.query:
        raise ValueError("https://HOST:PORT, http://HOST:PORT or unix:///PATH, without user name")
    return text.rstrip("/"), None


def _url_parts(text: str) -> SplitResult | None:
    """None where `text` is no URL of a host, or has what would be lost or leaked: a user name, a fragment."""
    try:
        parts = urlsplit(text)
        sound = parts.hostname and parts.port != 0 and "@" not in parts.netloc and not parts.fragment
    except ValueError:  # a port that is no number, half an IPv6 address
        return None
    return parts if sound and " " not in text else None


def _auth(table: Table, environ: Mapping[str, str], through_agent: bool) -> Auth:
    token = environment.server_variable(environ, "TOKEN")
    method = table.choice("method", AUTH_METHODS[0], AUTH_METHODS)
    if not table.has("method"):
        table.no_more()
        if token:
            return Auth("token", token=Secret(token[1].strip()))
        if through_agent:
            return Auth("none")
        return Auth("token", token_file=os.path.join(environment.home(environ), ".vault-token"))
    allowed = AUTH_KEYS[method]
    auth = Auth(
        method=method,
        mount=(table.text("mount", method) or method).strip("/") if "mount" in allowed else "",
        role=(table.text("role") or "") if "role" in allowed else "",
        role_id=(table.text("role_id") or "") if "role_id" in allowed else "",
        secret_id_file=table.path("secret_id_file") if "secret_id_file" in allowed else None,
        wrapped=table.flag("wrapped", False) if "wrapped" in allowed else False,
        jwt_file=table.path("jwt_file", KUBERNETES_JWT) if "jwt_file" in allowed else None,
        token_file=table.path("token_file") if "token_file" in allowed else None,
        token=Secret(token[1].strip()) if method == "token" and token and not table.has("token_file") else None,
    )
    table.no_more()
    for name in AUTH_REQUIRED.get(method, ()):
        if not table.has(name):
            raise table.wrong(name, f"a text, since auth.method is {method}")
    if method == "token" and not auth.token and not auth.token_file:
        return Auth("token", token_file=os.path.join(environment.home(environ), ".vault-token"))
    return auth


def _profile(name: str, table: Table) -> Profile:
    windows = Windows(table.optional_duration("soft_window"), table.optional_duration("hard_window"))
    profile = Profile(
        name=name,
        grant=_location(table.table("grant"), grant_location(name)),
        ticket=_location(table.table("ticket"), ticket_location(name)),
        client_id=table.text("client_id"),
        token_url=_url(table, "token_url", DEFAULT_TOKEN_URL) or DEFAULT_TOKEN_URL,
        revocation_url=_url(table, "revocation_url", None),
        ca_cert=table.path("ca_cert"),
        lease=table.choice("lease", LEASES[0], LEASES),
        windows=windows,
        default_lifetime=table.duration("default_lifetime", DEFAULT_LIFETIME, least=1.0),
        request_timeout=table.duration("request_timeout", DEFAULT_REQUEST_TIMEOUT, least=0.1),
        claim_time=table.duration("claim_time", DEFAULT_CLAIM_TIME, least=1.0),
        reuse_grace=table.duration("reuse_grace", DEFAULT_REUSE_GRACE),
        hosts=table.get("hosts", (), "", _hosts),
        allow=daemon_table.allow(table.table("allow")),
    )
    table.no_more()
    if profile.grant.kv_version == 1:
        raise table.wrong("grant.kv_version", "2: spending a grant safely needs the check-and-set of KV v2")
    if (profile.grant.mount, profile.grant.path) == (profile.ticket.mount, profile.ticket.path):
        raise table.wrong("ticket", "another location than the grant's: whoever may read a ticket may not read it")
    soft = windows.soft or SOFT_DEFAULT
    if windows.hard is not None and windows.hard >= soft:
        raise table.wrong("hard_window", f"less than soft_window ({show_duration(soft)})")
    least = profile.request_timeout * CLAIM_MARGIN
    if profile.claim_time < least:
        raise table.wrong(
            "claim_time",
            f"at least {CLAIM_MARGIN} times request_timeout, here {least:g}s, so that it outlasts a spend",
        )
    return profile


def _location(table: Table, default: Location) -> Location:
    location = Location(
        mount=table.get("mount", default.mount, "", _vault_path),
        path=table.get("path", default.path, "", _vault_path),
        kv_version=table.choice("kv_version", default.kv_version, (1, 2)),
    )
    table.no_more()
    return location


def _url(table: Table, name: str, default: str | None) -> str | None:
    def check(value: object) -> str:
        text = text_value(value)
        parts = _url_parts(text)
        loopback = parts is not None and is_loopback(parts.hostname or "")
        if parts is None or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
            raise ValueError("an https:// URL (http:// only for a loopback address), without user name or fragment")
        return text

    return table.get(name, default, "", check)


def _variable(environ: Mapping[str, str], name: str, convert: Callable[[str], T]) -> T | None:
    found = environment.server_variable(environ, name)
    return None if found is None else _named(environ, found[0], convert)


def _named(environ: Mapping[str, str], name: str, convert: Callable[[str], T]) -> T | None:
    if not environ.get(name):
        return None
    try:
        return convert(environ[name])
    except ValueError as error:
        raise ConfigError(f"{name}: wanted {error}", "Correct or unset it.") from None


def _truth(text: str) -> bool:
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false"):
        return False
    raise ValueError("true or false")


def _hosts(value: object) -> tuple[str, ...]:
    found = [host_name(one) if isinstance(one, str) else "" for one in value] if isinstance(value, list) else [""]
    if not all(found):
        raise ValueError('a list of "HOST" or "HOST:PORT", like ["git.example.org"]')
    return tuple(found)


def _vault_path(value: object) -> str:
    text = text_value(value).strip("/")
    if not text or any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("a path in Vault like ticket/support/grant, without empty parts or dots")
    return text
