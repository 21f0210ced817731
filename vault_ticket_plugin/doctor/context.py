"""What the checks look at, each thing asked for once, and the token's own rights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError, TokenRefused, VaultDenied
from vault_ticket_plugin.model import Document
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.profile import Profile
from vault_ticket_plugin.vault import paths, policy
from vault_ticket_plugin.vault.messages import VaultRequest
from vault_ticket_plugin.wiring import Wiring

# One question to a server that answers takes milliseconds; nobody wants to wait long for each that does not.
PATIENCE = 5.0


@dataclass(frozen=True)
class DoctorContext:
    """One run of the checks: what it is about, and what was found on the way."""

    settings: Settings
    profile: Profile
    role: policy.Role
    wiring: Wiring
    environ: Mapping[str, str]
    agent_config: str | None = None
    """An agent's configuration file, if one was named."""

    @property
    def daemon_only(self) -> bool:
        """Whether a daemon is asked, and no Vault is configured beside it."""
        return not self.settings.vault.address

    @property
    def policy_hint(self) -> str:
        """What to do about rights that are missing."""
        role, name, namespace = self.role, self.profile.name, self.settings.vault.namespace
        where = f", in namespace {namespace}" if namespace else ""
        printed = f"`vault-ticket policy {role} {name}` prints{where}"
        return f"Its policy should be what {printed} (`vault-ticket setup {name}`)."

    def deadline(self) -> Deadline:
        return Deadline.after(min(PATIENCE, self.settings.timeout))

    @cached_property
    def server(self) -> Mapping[str, Any]:
        """What the server says of itself to anybody, sealed or not."""
        request = VaultRequest("GET", paths.SEAL_STATUS, anonymous=True, namespace="")
        answer = self.wiring.session.send(request, self.deadline())
        if "not yet initialized" in answer.errors:  # as Vault before 1.15 says it
            return {"initialized": False, "sealed": True}
        if "sealed" not in answer.body:
            raise ConfigError(
                f"what answers at {self.settings.vault.shown} is not Vault",
                "Check VAULT_ADDR or `address` under [vault].",
            )
        return answer.body

    @cached_property
    def token(self) -> Mapping[str, Any] | None:
        """What Vault says of our token, after a login; None if the token may not ask."""
        deadline = self.deadline()
        self.wiring.session.have_token(deadline)
        try:
            answer = self.wiring.session.send(VaultRequest("GET", paths.LOOKUP_SELF), deadline)
        except TokenRefused:
            raise
        except VaultDenied:
            return None
        return answer.data or None

    def capabilities(self, asked: list[str]) -> Mapping[str, frozenset[str]] | None:
        """What our token may do at each; None if it may not ask."""
        try:
            request = VaultRequest("POST", paths.CAPABILITIES_SELF, {"paths": asked})
            answer = self.wiring.session.send(request, self.deadline())
        except TokenRefused:
            raise
        except VaultDenied:
            return None
        found = answer.body.get("data") or answer.body
        return {path: frozenset(found.get(path) or ()) for path in asked}

    @cached_property
    def grant(self) -> Document:
        return self.wiring.store.read(self.profile.grant, self.deadline())

    @cached_property
    def grant_metadata(self) -> Mapping[str, Any]:
        """Empty if there is none, or our token may not see it."""
        try:
            request = VaultRequest("GET", paths.metadata(self.profile.grant))
            return self.wiring.session.send(request, self.deadline()).data
        except TokenRefused:
            raise
        except VaultDenied:
            return {}

    @cached_property
    def ticket(self) -> Document:
        return self.wiring.store.read(self.profile.ticket, self.deadline())
