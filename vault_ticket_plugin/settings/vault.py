"""[vault]: where Vault is and how to log in.

What the file says wins; the environment fills in what it leaves out (docs/decisions/0002).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeVar, get_args

from vault_ticket_plugin import environment
from vault_ticket_plugin.durations import parse_duration
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.hosts import url_parts
from vault_ticket_plugin.settings.table import Table, text_value, vault_path

T = TypeVar("T")
Address = tuple[str, str | None]  # base URL, and the path of a unix socket where it is one

AuthMethod = Literal["token", "approle", "kubernetes", "jwt", "cert", "none"]
AUTH_METHODS: tuple[AuthMethod, ...] = get_args(AuthMethod)
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

KUBERNETES_JWT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
# As hvac and the servers' own clients have it.
DEFAULT_CLIENT_TIMEOUT = 30.0


class Tls(NamedTuple):
    """How to verify a server and show ourselves; paths of PEM files."""

    ca_file: str | None = None
    """Without a CA the system's own are used."""
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    verify: bool = True


class Auth(NamedTuple):
    """How to log in to Vault. Files are read at login, so that a rotated one is picked up."""

    method: AuthMethod
    mount: str = ""
    role: str = ""
    role_id: str = ""
    secret_id_file: str | None = None
    wrapped: bool = False
    """Whether the file holds a response-wrapped secret id."""
    jwt_file: str | None = None
    token_file: str | None = None
    token: Secret | None = None
    by_default: bool = False
    """Whether nothing names that file but the servers' own custom."""

    def identity(self) -> tuple[str, ...]:
        """What tells this login from another, without a secret."""
        token = self.token.fingerprint() if self.token else ""
        files = (self.secret_id_file, self.jwt_file, self.token_file)
        return (self.method, self.mount, self.role, self.role_id, token, *(path or "" for path in files))


class VaultSettings(NamedTuple):
    """The server, its namespace, and the login there."""

    address: str
    """The base URL; with `unix_socket` it only fills the Host header. Empty if a daemon alone is asked."""
    auth: Auth
    namespace: str | None = None
    unix_socket: str | None = None
    tls: Tls = Tls()
    client_timeout: float = DEFAULT_CLIENT_TIMEOUT
    """Seconds: the longest silence to bear in one answer."""

    @property
    def shown(self) -> str:
        return f"unix://{self.unix_socket}" if self.unix_socket else self.address


def no_address() -> ConfigError:
    return ConfigError(
        "no Vault address is configured",
        "Set VAULT_ADDR (or BAO_ADDR), or `address` under [vault] in ~/.config/vault-ticket/config.toml.",
    )


def callers_token(environ: Mapping[str, str]) -> Auth:
    """The token of the person who calls: the environment's, else the one that the servers' own clients keep."""
    found = environment.server_variable(environ, "TOKEN")
    if found:
        return Auth("token", token=Secret(found[1].strip()))
    return Auth("token", token_file=environment.token_path(environ), by_default=True)


def read(table: Table, environ: Mapping[str, str], needed: bool) -> VaultSettings:
    """`needed`: an address must be there; a program that asks a daemon may do without."""

    def path(name: str) -> str | None:
        return _variable(environ, name, os.path.abspath)

    nothing: Address | None = None
    configured = table.get("address", nothing, "", _address)
    agent = None if configured else _variable(environ, "AGENT_ADDR", _address)
    # Adds its own token and gets none of ours, so the file need not protect a login from it (docs/decisions/0011).
    listener = _named(environ, "VAULT_TICKET_AGENT", _address)
    address = listener or configured or agent or _variable(environ, "ADDR", _address)

    auth = table.table("auth")
    namespace = table.get("namespace", "", "", _namespace) or _variable(environ, "NAMESPACE", _namespace) or None
    tls = Tls(
        ca_file=table.path("ca_cert") or path("CACERT"),
        ca_path=table.path("ca_path") or path("CAPATH"),
        client_cert=table.path("client_cert") or path("CLIENT_CERT"),
        client_key=table.path("client_key") or path("CLIENT_KEY"),
        server_name=table.text("tls_server_name") or _variable(environ, "TLS_SERVER_NAME", str),
        verify=not table.flag("skip_verify", _variable(environ, "SKIP_VERIFY", _truth) or False),
    )
    said = _variable(environ, "CLIENT_TIMEOUT", parse_duration)
    client_timeout = table.duration("client_timeout", said or DEFAULT_CLIENT_TIMEOUT, least=0.1)
    table.reject_unknown_keys()

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
        raise table.error("client_cert", "a certificate's path, since auth.method is cert (or VAULT_CLIENT_CERT)")
    return settings


def _auth(table: Table, environ: Mapping[str, str], through_agent: bool) -> Auth:
    token = environment.server_variable(environ, "TOKEN")
    method = table.choice("method", AUTH_METHODS[0], AUTH_METHODS)
    if not table.has("method"):
        table.reject_unknown_keys()
        return Auth("none") if through_agent and not token else callers_token(environ)

    allowed = AUTH_KEYS[method]
    auth = Auth(
        method=method,
        mount=table.get("mount", str(method), "", vault_path) if "mount" in allowed else "",
        role=(table.text("role") or "") if "role" in allowed else "",
        role_id=(table.text("role_id") or "") if "role_id" in allowed else "",
        secret_id_file=table.path("secret_id_file") if "secret_id_file" in allowed else None,
        wrapped=table.flag("wrapped", False) if "wrapped" in allowed else False,
        jwt_file=table.path("jwt_file", KUBERNETES_JWT) if "jwt_file" in allowed else None,
        token_file=table.path("token_file") if "token_file" in allowed else None,
        token=Secret(token[1].strip()) if method == "token" and token and not table.has("token_file") else None,
    )
    table.reject_unknown_keys()

    for name in AUTH_REQUIRED.get(method, ()):
        if not table.has(name):
            raise table.error(name, f"a text, since auth.method is {method}")
    if method == "token" and not auth.token and not auth.token_file:
        return callers_token(environ)
    return auth


def _address(value: object) -> Address:
    text = text_value(value)
    if text.startswith("unix:///"):
        return "http://localhost", text.removeprefix("unix://")
    parts = url_parts(text)
    if parts is None or parts.scheme not in ("http", "https") or parts.query:
        raise ValueError("https://HOST:PORT, http://HOST:PORT or unix:///PATH, without user name")
    return text.rstrip("/"), None


def _namespace(value: object) -> str:
    text = vault_path(value)
    if not text.isascii():  # it goes into a header
        raise ValueError("a namespace's path like ops/eu, in plain letters")
    return text


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
