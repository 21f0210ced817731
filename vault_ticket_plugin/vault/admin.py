"""An administrator's calls, for `setup`: what a server has, and the steps that change it. Through hvac."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError, StoredDataInvalid, VaultTicketError
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.vault.hvac_adapter import hvac_client
from vault_ticket_plugin.vault.judgement import BadToken, Denied
from vault_ticket_plugin.vault.messages import Invalid, Missing, VaultRequest, VaultResponse
from vault_ticket_plugin.vault.session import VaultSession, refused
from vault_ticket_plugin.vault.setup_plan import (
    Action,
    EnableAppRole,
    EnableKv,
    ServerState,
    SetupTarget,
    WritePolicy,
    WriteRole,
)


class NotThere(Exception):
    """Vault's 404."""


class Admin:
    def __init__(self, session: VaultSession, deadline: Deadline) -> None:
        client = hvac_client(session, deadline, _judge)
        self._sys = client.sys
        self._approle = client.auth.approle

    def look(self, wanted: SetupTarget) -> ServerState:
        """Reads, and changes nothing."""
        mounts = {path.rstrip("/"): _kind(one) for path, one in self._sys.list_mounted_secrets_engines().items()}
        auths = {path.rstrip("/"): str(one["type"]) for path, one in self._sys.list_auth_methods().items()}
        texts = {one.name: self._policy(one.name) for one in wanted.policies()}
        role = self._role(wanted) if auths.get(wanted.approle) == "approle" else None
        return ServerState(mounts, {name: text for name, text in texts.items() if text is not None}, auths, role)

    def role_id(self, wanted: SetupTarget) -> str:
        return str(self._approle.read_role_id(wanted.role, mount_point=wanted.approle)["role_id"])

    def new_secret_id(self, wanted: SetupTarget) -> Secret:
        made = self._approle.generate_secret_id(wanted.role, mount_point=wanted.approle)
        return Secret(made["secret_id"])

    def knows_secret_id(self, wanted: SetupTarget, secret_id: Secret) -> bool:
        """Whether it is one of the role's that still works."""
        try:
            found = self._approle.read_secret_id(wanted.role, secret_id.reveal(), mount_point=wanted.approle)
        except (NotThere, VaultTicketError):
            return False
        return bool(found)  # an empty answer for one that it does not know

    def do(self, action: Action) -> None:
        match action:
            case EnableKv(mount, version):
                self._sys.enable_secrets_engine("kv", path=mount, options={"version": str(version)})
            case WritePolicy(name, _, text):
                self._sys.create_or_update_acl_policy(name, text)
            case EnableAppRole(mount):
                self._sys.enable_auth_method("approle", path=mount)
            case WriteRole(mount, name, settings):
                self._approle.create_or_update_approle(name, mount_point=mount, **settings)

    def _policy(self, name: str) -> str | None:
        try:
            return str(self._sys.read_acl_policy(name)["policy"])
        except NotThere:
            return None

    def _role(self, wanted: SetupTarget) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._approle.read_role(wanted.role, mount_point=wanted.approle)
        except NotThere:
            return None
        return found


def _judge(response: VaultResponse | BadToken | Denied, request: VaultRequest) -> Mapping[str, Any]:
    """The answer's data."""
    match response:
        case BadToken():
            raise _not_admin("Vault does not know it")
        case Denied():
            raise _not_admin(f"Vault denies {request}")
        case Missing():
            raise NotThere
        case Invalid():
            raise refused(response, "this step of the setup")
    data = response.body.get("data")
    if data is not None and not isinstance(data, Mapping):
        raise StoredDataInvalid("Vault's answer is not of the expected form", "")
    return data or {}


def _kind(mount: Mapping[str, Any]) -> tuple[str, int | None]:
    """Type and KV version. `generic` is what the oldest servers call KV v1."""
    kind = str(mount["type"])
    if kind not in ("kv", "generic"):
        return kind, None
    version = str((mount.get("options") or {}).get("version", "1"))
    return "kv", int(version) if version.isdigit() else None


def _not_admin(reason: str) -> VaultTicketError:
    return ConfigError(
        f"this token may not set up a server: {reason}",
        "Set VAULT_TOKEN (or BAO_TOKEN) to an administrator's token, for this command only.",
    )
