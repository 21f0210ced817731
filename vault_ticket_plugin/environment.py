"""What the environment decides: variable names, where the configuration and our own folders are.

Read on the warm path, so it imports next to nothing.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# The conventional variables of both servers, without their prefix. `bao` reads BAO_X before VAULT_X.
SERVER_NAMES = (
    "ADDR",
    "AGENT_ADDR",
    "TOKEN",
    "NAMESPACE",
    "CACERT",
    "CAPATH",
    "CLIENT_CERT",
    "CLIENT_KEY",
    "TLS_SERVER_NAME",
    "SKIP_VERIFY",
    "CLIENT_TIMEOUT",
)
SERVER_PREFIXES = ("BAO_", "VAULT_")
# OpenBao's clients, since 2.6, keep the token there in place of ~/.vault-token.
TOKEN_PATH = "BAO_TOKEN_PATH"  # noqa: S105 - a variable's name
# AGENT: an agent's or proxy's listener to go through, whatever the file says of [vault] (docs/agent.md).
OWN_NAMES = ("VAULT_TICKET_CONFIG", "VAULT_TICKET_PROFILE", "VAULT_TICKET_AGENT")
FOLDER_NAMES = (
    *("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
    *("RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"),
)
PROXY_NAMES = (
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
)

# All that may change which ticket a call gets. A cache entry is made under one set of their values.
NAMES = (
    *(prefix + name for name in SERVER_NAMES for prefix in SERVER_PREFIXES),
    TOKEN_PATH,
    *OWN_NAMES,
    *FOLDER_NAMES,
    *PROXY_NAMES,
)

# A Vault token; a proxy's password. Their values go into no file.
SECRET_NAMES = frozenset({"BAO_TOKEN", "VAULT_TOKEN", *PROXY_NAMES})

DEFAULT_PROFILE = "default"
PROFILE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def server_variable(environ: Mapping[str, str], name: str) -> tuple[str, str] | None:
    """(variable, value) of BAO_`name`, else VAULT_`name`; an empty one counts as not set."""
    for prefix in SERVER_PREFIXES:
        value = environ.get(prefix + name)
        if value:
            return prefix + name, value
    return None


def profile_name(environ: Mapping[str, str], given: str | None) -> str:
    return given or environ.get("VAULT_TICKET_PROFILE") or DEFAULT_PROFILE


def is_profile_name(name: str) -> bool:
    """Letters, digits and `._-`, not starting with a dot or a dash, so that it can be a file's name."""
    return 0 < len(name) <= 64 and name[0] not in ".-" and PROFILE_LETTERS.issuperset(name)


def config_path(environ: Mapping[str, str]) -> str | None:
    """The configuration file in force, or None. A file that is named must be there; the others may be."""
    named = environ.get("VAULT_TICKET_CONFIG")
    if named:
        return named
    own = _xdg(environ, "XDG_CONFIG_HOME") or os.path.join(home(environ), ".config")
    for folder in (own, "/etc"):
        path = os.path.join(folder, "vault-ticket", "config.toml")
        if os.path.exists(path):
            return path
    return None


def home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def token_path(environ: Mapping[str, str]) -> str:
    """Where the servers' own clients keep the token of a person's login."""
    return environ.get(TOKEN_PATH) or os.path.join(home(environ), ".vault-token")


def _xdg(environ: Mapping[str, str], name: str) -> str:
    """A base folder of the XDG specification, which says to pass over a relative one."""
    path = environ.get(name, "")
    return path if path.startswith("/") else ""


def runtime_path(environ: Mapping[str, str]) -> str:
    """The folder that memory keeps: locks, cached tickets, the journal while a save is under way."""
    own = _xdg(environ, "XDG_RUNTIME_DIR")
    if own:
        return os.path.join(own, "vault-ticket")
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd's RuntimeDirectory=
    if given:
        return given
    if os.geteuid() == 0:
        return "/run/vault-ticket"
    login = f"/run/user/{os.geteuid()}"  # a login session that lost its environment: sudo, cron
    return f"{login}/vault-ticket" if os.path.isdir(login) else f"/dev/shm/vault-ticket-{os.geteuid()}"  # noqa: S108 - Folder checks whose it is


def state_path(environ: Mapping[str, str]) -> str:
    """The folder that a disk keeps: a journal that Vault could not take."""
    own = _xdg(environ, "XDG_STATE_HOME")
    if own:
        return os.path.join(own, "vault-ticket")
    if os.geteuid() == 0:
        return "/var/lib/vault-ticket"
    return os.path.join(home(environ), ".local", "state", "vault-ticket")


def environment_key(environ: Mapping[str, str], config: str | None) -> str:
    """The configuration's path and every variable in NAMES, in one line of ASCII; of a secret only a fingerprint."""
    return ascii((config, *((name, _unsecret(name, environ[name])) for name in NAMES if name in environ)))


def _unsecret(name: str, value: str) -> str:
    if name not in SECRET_NAMES or not value:
        return value
    # Not at the top: it loads OpenSSL's library, the dearest import of the warm path, and few calls need it.
    import hashlib

    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
