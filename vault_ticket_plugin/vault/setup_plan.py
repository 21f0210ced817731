"""What `setup` wants a server to have, and the steps from what it has: pure data. vault/admin.py looks and does.

Nothing that somebody else may rely on is changed unasked: a policy or a role that differs is left and told, unless
all that it lacks is this profile's own policy.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vault_ticket_plugin.durations import show_duration
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.settings.vault import VaultSettings
from vault_ticket_plugin.vault import policy

# A token of the helper lives as long as a few calls take; it logs in anew at each.
TOKEN_TTL = 300
# How long a wrapped secret id may be on its way.
WRAP_TTL = "10m"
SECRET_ID_FILE = "/etc/vault-ticket/secret_id"  # noqa: S105 - a path
# Policies of our making that a helper's role may have: those of its profiles.
OURS = "ticket-refresher"


@dataclass(frozen=True, slots=True)
class EnableKv:
    mount: str
    version: int


@dataclass(frozen=True, slots=True)
class WritePolicy:
    name: str
    role: policy.Role
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class EnableAppRole:
    mount: str


@dataclass(frozen=True, slots=True)
class WriteRole:
    mount: str
    name: str
    settings: Mapping[str, Any]


Action = EnableKv | WritePolicy | EnableAppRole | WriteRole


@dataclass(frozen=True, slots=True)
class SetupTarget:
    """What the server is to have for one profile."""

    profile: Profile
    approle: str
    """The mount of its logins."""
    role: str
    secret_id_ttl: int | None = None
    """None: as it is, and without an end in a new role."""

    def policies(self) -> Iterator[WritePolicy]:
        for role in policy.ROLES:
            yield WritePolicy(policy.name_for(role, self.profile), role, policy.hcl(role, self.profile))

    def role_settings(self) -> dict[str, Any]:
        """As AppRole's API names them. A batch token has no lease that could be left behind."""
        settings: dict[str, Any] = {
            "token_policies": [policy.name_for("refresher", self.profile)],
            "token_type": "batch",
            "token_ttl": TOKEN_TTL,
            "token_no_default_policy": True,
            "bind_secret_id": True,
            "secret_id_num_uses": 0,
        }
        return settings if self.secret_id_ttl is None else settings | {"secret_id_ttl": self.secret_id_ttl}


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the server has."""

    mounts: Mapping[str, tuple[str, int | None]]
    """Type and KV version."""
    policies: Mapping[str, str]
    auths: Mapping[str, str]
    """Type."""
    role: Mapping[str, Any] | None
    """None if it is not there."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is wanted, and what is to be done for it."""

    kind: Literal["keep", "make", "change", "leave"]
    """`keep`: it is as wanted; `make` and `change`: `action` does it; `leave`: it differs, and `action` would."""
    what: str
    action: Action | None = None


def plan(wanted: SetupTarget, found: ServerState, replace: bool = False) -> tuple[Step, ...]:
    """ConfigError if what is there is in the way. `replace`: what differs is changed too."""
    return (
        *_mounts(wanted, found),
        *(_policy(one, found, replace) for one in wanted.policies()),
        _approle(wanted, found),
        _role(wanted, found, replace),
    )


def command(action: Action, program: str, profile: Profile) -> str:
    """What a person would type instead; `program` is vault or bao."""
    match action:
        case EnableKv(mount, version):
            return _line(program, "secrets", "enable", f"-version={version}", f"-path={mount}", "kv")
        case WritePolicy(name, role):
            # The text comes from the one place that has it.
            printed = _line("vault-ticket", "policy", role, profile.name)
            return f"{printed} | {_line(program, 'policy', 'write', name, '-')}"
        case EnableAppRole(mount):
            return _line(program, "auth", "enable", f"-path={mount}", "approle")
        case WriteRole(mount, name, settings):
            words = [f"{key}={_value(value)}" for key, value in settings.items()]
            return _line(program, "write", f"auth/{mount}/role/{name}", *words)


def _mounts(wanted: SetupTarget, found: ServerState) -> Iterator[Step]:
    profile = wanted.profile
    for mount, version in {one.mount: one.kv_version for one in (profile.ticket, profile.grant)}.items():
        what = f"KV v{version} mount {mount}/"
        there = found.mounts.get(mount)
        if there is None:
            yield Step("make", what, EnableKv(mount, version))
            continue

        kind, its_version = there
        if kind != "kv":
            raise ConfigError(f"{mount}/ is a mount of type {kind}, not kv", "Name another `mount` in the profile.")
        if its_version != version:
            raise ConfigError(
                f"{mount}/ is a KV v{its_version} mount, and profile {profile.name} needs v{version} there",
                "Name another `mount` in the profile. Nothing was changed: upgrading a mount is for those who use it."
                if version == 2
                else "Correct `kv_version` in the profile.",
            )
        yield Step("keep", what)


def _policy(wanted: WritePolicy, found: ServerState, replace: bool) -> Step:
    what = f"policy {wanted.name}"
    there = found.policies.get(wanted.name)
    if there is None:
        return Step("make", what, wanted)
    if there.strip() == wanted.text.strip():
        return Step("keep", what)
    return Step("change" if replace else "leave", f"{what}: its text is another", wanted)


def _approle(wanted: SetupTarget, found: ServerState) -> Step:
    what = f"AppRole logins at auth/{wanted.approle}/"
    kind = found.auths.get(wanted.approle)
    if kind is None:
        return Step("make", what, EnableAppRole(wanted.approle))
    if kind != "approle":
        raise ConfigError(
            f"auth/{wanted.approle}/ has logins of type {kind}, not approle", "Name another place: --approle PATH."
        )
    return Step("keep", what)


def _role(wanted: SetupTarget, found: ServerState, replace: bool) -> Step:
    what = f"role {wanted.role} for the helper"
    settings = wanted.role_settings()
    there = found.role
    if there is None:
        settings = {"secret_id_ttl": 0} | settings
        return Step("make", what, WriteRole(wanted.approle, wanted.role, settings))

    (ours,) = settings.pop("token_policies")
    policies: list[str] = list(there.get("token_policies") or ())
    strange = [name for name in policies if not name.startswith(OURS)]
    differing = {key: value for key, value in settings.items() if there.get(key) != value}
    together = [*(name for name in policies if name not in strange and name != ours), ours]

    if not differing and not strange:
        if ours in policies:
            return Step("keep", what)
        change = WriteRole(wanted.approle, wanted.role, {"token_policies": together})
        return Step("change", f"{what}: it gets {ours} too", change)

    # Somebody else may rely on it: all that differs is said.
    parts = [f"{key} is {_shown(there.get(key), key)}, not {_shown(value, key)}" for key, value in differing.items()]
    if strange:
        parts.append(f"it has other policies ({', '.join(strange)})")
    if ours not in policies:
        parts.append(f"it lacks {ours}")

    change = WriteRole(wanted.approle, wanted.role, {"token_policies": together} | differing)
    return Step("change" if replace else "leave", f"{what}: {'; '.join(parts)}", change)


def _shown(value: object, key: str) -> str:
    return show_duration(value) if key.endswith("_ttl") and isinstance(value, int) else _value(value)


def _value(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _line(*words: str) -> str:
    return shlex.join(words)


def closing(
    vault: VaultSettings, wanted: SetupTarget, program: str, role_id: str | None, secret_id_file: str | None
) -> str:
    """What is left to a person: the helper's configuration, its secret id, and the refresh token."""
    name, where = wanted.profile.name, secret_id_file or SECRET_ID_FILE
    path = f"auth/{wanted.approle}/role/{wanted.role}/secret-id"
    mount = "" if wanted.approle == "approle" else f", mount = {_quoted(wanted.approle)}"
    auth = f'method = "approle", role_id = {_quoted(role_id or "…")}, secret_id_file = {_quoted(where)}{mount}'
    keys = (("address", vault.shown), ("namespace", vault.namespace), ("ca_cert", vault.tls.ca_file))
    operator = policy.name_for("operator", wanted.profile)

    lines = ["", "The helper's config.toml:", "", "  [vault]"]
    lines += [f"  {key} = {_quoted(value)}" for key, value in keys if value]
    lines += [f"  auth = {{ {auth} }}", "", f"  [profiles.{_quoted(name) if '.' in name else name}]", ""]

    if secret_id_file is None:
        lines += [
            f"A secret id for the helper, wrapped: good for one use within {WRAP_TTL}.",
            "",
            f"  $ {_line(program, 'write', '-f', f'-wrap-ttl={WRAP_TTL}', '-field=wrapping_token', path)}",
            "",
            "On the helper's host, as its user, with that token in WRAPPING_TOKEN:",
            "",
            f'  $ (umask 077; VAULT_TOKEN="$WRAPPING_TOKEN" {program} unwrap -field=secret_id >{shlex.quote(where)})',
            "",
        ]

    create = _line(program, "token", "create", f"-policy={operator}", "-ttl=10m", "-field=token")
    lines += [
        "The refresh token, by whoever has it:",
        "",
        f"  $ VAULT_TOKEN=$({create}) vault-ticket store {name}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A string as TOML reads it."""
    return json.dumps(text, ensure_ascii=False)
