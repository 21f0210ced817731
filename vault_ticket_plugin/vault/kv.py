"""KV documents, version 1 and 2: the store behind the grant and the leased path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vault_ticket_plugin.clock import Deadline, Moment, from_rfc3339
from vault_ticket_plugin.errors import CasMismatch, ConfigError, StoredDataInvalid, VaultDenied
from vault_ticket_plugin.model import Document, Location
from vault_ticket_plugin.vault import paths
from vault_ticket_plugin.vault.messages import Invalid, Missing, VaultRequest, VaultResponse
from vault_ticket_plugin.vault.session import VaultSession, refused

# hvac and the servers have no code for it, only these words; a 400 without them is another matter.
MISMATCH = "check-and-set parameter did not match"
# The ticket, and the one before it for a reader that is just looking. Older ones are of no use to anybody.
TICKET_VERSIONS = 2


class VaultStore:
    """`KvStore` (ports.py) over a session."""

    def __init__(self, session: VaultSession) -> None:
        self._session = session

    def now(self) -> Moment:
        return self._session.now()

    def read(self, where: Location, deadline: Deadline) -> Document:
        response = self._session.send(VaultRequest("GET", paths.data(where)), deadline)
        if isinstance(response, Invalid):
            raise refused(response, f"reading {where}")
        if not response.data:
            self.check_mount(where, deadline)
            return Document(None)
        if where.kv_version == 1:
            return Document(response.data)
        return _versioned(response, where)

    def write(self, where: Location, data: Mapping[str, Any], cas: int | None, deadline: Deadline) -> int:
        if where.kv_version == 1:
            _expect_ok(self._session.send(VaultRequest("POST", paths.data(where), data), deadline), f"writing {where}")
            return 0

        options = {} if cas is None else {"options": {"cas": cas}}
        request = VaultRequest("POST", paths.data(where), {**options, "data": data})
        response = self._session.send(request, deadline)
        if isinstance(response, Invalid) and MISMATCH in response.errors:
            mismatch = CasMismatch(f"{where} was written by somebody else at the same time", "Try again.")
            mismatch.maybe_ours = response.retried
            raise mismatch
        _expect_ok(response, f"writing {where}")
        version = response.data.get("version")
        if not isinstance(version, int):
            raise StoredDataInvalid(f"Vault did not say which version of {where} it wrote", "Is it a KV v2 mount?")
        return version

    def current_version(self, where: Location, deadline: Deadline) -> int:
        response = self._session.send(VaultRequest("GET", paths.metadata(where)), deadline)
        version = response.data.get("current_version")
        if isinstance(version, int):
            return version
        self.check_mount(where, deadline)
        return 0

    def custom_metadata(self, where: Location, deadline: Deadline) -> Mapping[str, Any]:
        response = self._session.send(VaultRequest("GET", paths.metadata(where)), deadline)
        found = response.data.get("custom_metadata")
        return found if isinstance(found, Mapping) else {}

    def patch_custom_metadata(self, where: Location, changes: Mapping[str, str], deadline: Deadline) -> None:
        body, headers = {"custom_metadata": dict(changes)}, {"Content-Type": "application/merge-patch+json"}
        request = VaultRequest("PATCH", paths.metadata(where), body, headers=headers)
        _expect_ok(self._session.send(request, deadline), f"noting something beside {where}")

    def may_write(self, where: Location, new: bool, deadline: Deadline) -> bool:
        """As Vault's own `sys/capabilities-self` has it."""
        path = paths.data(where)
        try:
            response = self._session.send(VaultRequest("POST", paths.CAPABILITIES_SELF, {"paths": [path]}), deadline)
        except VaultDenied:
            return True
        found = response.body.get(path) or response.data.get(path)
        return not isinstance(found, list) or bool({"root", "create" if new else "update"} & set(found))

    def expire(self, where: Location, after: float, deadline: Deadline) -> None:
        body = {"delete_version_after": f"{int(after)}s", "max_versions": TICKET_VERSIONS}
        _expect_ok(
            self._session.send(VaultRequest("POST", paths.metadata(where), body), deadline), f"setting up {where}"
        )

    def destroy(self, where: Location, versions: list[int], deadline: Deadline) -> None:
        if where.kv_version == 1:
            _expect_ok(self._session.send(VaultRequest("DELETE", paths.data(where)), deadline), f"deleting {where}")
            return
        request = VaultRequest("POST", paths.destroy(where), {"versions": versions})
        _expect_ok(self._session.send(request, deadline), f"destroying {where}")

    def check_mount(self, where: Location, deadline: Deadline) -> None:
        """ConfigError if there is no such mount that we have rights in, or one that is not KV of that version."""
        try:
            response = self._session.send(VaultRequest("GET", paths.mount_of(where)), deadline)
        except VaultDenied:
            # Whoever may do anything below a mount may ask this. So nobody, if there is none.
            raise ConfigError(
                f"Vault has no mount {where.mount}, or our token may do nothing there",
                "Correct `mount` in the profile, or the token's policies.",
            ) from None
        if isinstance(response, Missing) and response.errors:
            raise ConfigError(f"Vault can't find {where}: {response.errors}", "Check VAULT_NAMESPACE or `namespace`.")
        if not response.data:
            return

        kind = response.data.get("type")
        version = str((response.data.get("options") or {}).get("version", "1"))
        if kind not in ("kv", "generic"):
            raise ConfigError(f"{where.mount} is a mount of type {kind}, not kv", "Correct `mount` in the profile.")
        if version != str(where.kv_version):
            raise ConfigError(
                f"{where.mount} is a KV v{version} mount, and the profile says v{where.kv_version} for {where}",
                "Correct `kv_version` in the profile; a grant needs v2 (`vault secrets enable -version=2 kv`).",
            )


def _expect_ok(response: VaultResponse, doing: str) -> None:
    if isinstance(response, Invalid):
        raise refused(response, doing)
    if isinstance(response, Missing):
        raise ConfigError(f"Vault has no place for {doing}", "Check `mount` in the profile.")


def _versioned(response: VaultResponse, where: Location) -> Document:
    metadata, data = response.data.get("metadata"), response.data.get("data")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("version"), int):
        raise ConfigError(f"{where} is not in a KV v2 mount", "Correct `kv_version` in the profile.")
    return Document(
        data=data if isinstance(data, Mapping) else None,
        version=metadata["version"],
        created_at=_time(metadata.get("created_time")),
        deletes_at=_time(metadata.get("deletion_time")),
        destroyed=metadata.get("destroyed") is True,
        cached=response.cached,
    )


def _time(text: object) -> float | None:
    try:
        return from_rfc3339(text) if isinstance(text, str) and text else None
    except ValueError:
        return None
