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

# Root's own folders, whose place needs no home.
ROOT_RUNTIME, ROOT_STATE = "/run/vault-ticket", "/var/lib/vault-ticket"

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
    for folder in (_own_config(environ), "/etc"):
        path = os.path.join(folder, "vault-ticket", "config.toml") if folder else ""
        if path and os.path.exists(path):
            return path
    return None


def _own_config(environ: Mapping[str, str]) -> str | None:
    own = _xdg(environ, "XDG_CONFIG_HOME")
    if own:
        return own
    folder = home(environ)
    return os.path.join(folder, ".config") if folder else None


def names_config(environ: Mapping[str, str]) -> bool:
    """Whether `config_path` needs no look into the password database, which may take long."""
    return any(environ.get(name, "").startswith("/") for name in ("HOME", "XDG_CONFIG_HOME")) or bool(
        environ.get("VAULT_TICKET_CONFIG")
    )


def home(environ: Mapping[str, str]) -> str | None:
    """HOME, else what the password database has; None if neither says."""
    own = _home(environ)
    if own:
        return own
    from vault_ticket_plugin import password_database

    return password_database.home(os.geteuid())


def token_path(environ: Mapping[str, str]) -> str | None:
    """Where the servers' own clients keep the token of a person's login."""
    named = environ.get(TOKEN_PATH)
    if named:
        return os.path.abspath(named)
    folder = home(environ)
    return os.path.join(folder, ".vault-token") if folder else None


def _home(environ: Mapping[str, str]) -> str:
    path = environ.get("HOME", "")
    return path if path.startswith("/") else ""


def _xdg(environ: Mapping[str, str], name: str) -> str:
    """A base folder of the XDG specification, which says to pass over a relative one."""
    path = environ.get(name, "")
    return path if path.startswith("/") else ""


def _systemds(environ: Mapping[str, str], name: str) -> str:
    """The first folder of systemd's RuntimeDirectory= or StateDirectory=."""
    path = environ.get(name, "").partition(":")[0]
    return path if path.startswith("/") else ""


def runtime_path(environ: Mapping[str, str]) -> str:
    """The folder that memory keeps: locks, cached tickets, the journal while a save is under way."""
    return runtime_paths(environ)[0]


def runtime_paths(environ: Mapping[str, str]) -> list[str]:
    """Those that this environment names, then those of this user under any environment."""
    own, given = _xdg(environ, "XDG_RUNTIME_DIR"), _systemds(environ, "RUNTIME_DIRECTORY")
    named = [os.path.join(own, "vault-ticket") if own else "", given]
    return [path for path in named if path] + users_runtime_paths()


def users_runtime_paths() -> list[str]:
    """A login session's, which a call that lost its environment (sudo, cron) finds too, and the system's."""
    user = os.geteuid()
    login = [f"/run/user/{user}/vault-ticket"] if os.path.isdir(f"/run/user/{user}") else []
    if user == 0:
        return [ROOT_RUNTIME, *login]
    return [*login, f"/dev/shm/vault-ticket-{user}"]  # noqa: S108 - Folder checks whose it is


def state_path(environ: Mapping[str, str]) -> str | None:
    """The folder that a disk keeps: a journal that Vault could not take. None if this environment names none."""
    return next(iter(state_paths(environ)), None)


def state_paths(environ: Mapping[str, str]) -> list[str]:
    """Those that this environment names; places.py adds what the password database says."""
    own, given = _xdg(environ, "XDG_STATE_HOME"), _systemds(environ, "STATE_DIRECTORY")
    named = [os.path.join(own, "vault-ticket") if own else "", given]
    if os.geteuid() == 0:
        named.append(ROOT_STATE)
    elif _home(environ):
        named.append(state_below(_home(environ)))
    return [path for path in named if path]


def state_below(folder: str) -> str:
    """The state folder of a user with this home."""
    return os.path.join(folder, ".local", "state", "vault-ticket")


def environment_key(environ: Mapping[str, str], config: str | None) -> str:
    """The configuration's path and every variable in NAMES, in one line of ASCII; of a secret only a fingerprint."""
    return ascii((config, *((name, _unsecret(name, environ[name])) for name in NAMES if name in environ)))


def _unsecret(name: str, value: str) -> str:
    if name not in SECRET_NAMES or not value:
        return value
    # Not at the top: it loads OpenSSL's library, the dearest import of the warm path, and few calls need it.
    import hashlib

    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
