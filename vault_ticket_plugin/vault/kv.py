"""KV documents, version 1 and 2: the store behind the grant and the leased path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vault_ticket_plugin.clock import Deadline, from_rfc3339
from vault_ticket_plugin.errors import (
    CasMismatch,
    ConfigError,
    StoredDataInvalid,
    VaultDenied,
    VaultTicketError,
)
from vault_ticket_plugin.model import Document, Location
from vault_ticket_plugin.vault.session import Answer, VaultSession, refused

# hvac and the servers have no code for it, only these words; a 400 without them is another matter.
MISMATCH = "check-and-set parameter did not match"
# The ticket, and the one before it for a reader that is just looking. Older ones are of no use to anybody.
TICKET_VERSIONS = 2


class VaultStore:
    """`KvStore` (ports.py) over a session."""

    def __init__(self, session: VaultSession) -> None:
        self._session = session

    def now(self) -> float:
        return self._session.now()

    def read(self, where: Location, deadline: Deadline) -> Document:
        answer = self._session.call("GET", api_path(where, "data"), deadline)
        if answer.status == 400:
            raise refused(answer, f"reading {where}")
        found = answer.body.get("data")
        if not isinstance(found, Mapping):
            self.check_mount(where, deadline)
            return Document(None)
        if where.kv_version == 1:
            return Document(found)
        return _versioned(found, where)

    def write(self, where: Location, data: Mapping[str, Any], cas: int | None, deadline: Deadline) -> int:
        if where.kv_version == 1:
            _expect_ok(self._session.call("POST", api_path(where, "data"), deadline, data), f"writing {where}")
            return 0
        options = {} if cas is None else {"options": {"cas": cas}}
        answer = self._session.call("POST", api_path(where, "data"), deadline, {**options, "data": data})
        if answer.status == 400 and MISMATCH in answer.errors:
            raise CasMismatch(f"{where} was written by somebody else at the same time", "Try again.")
        _expect_ok(answer, f"writing {where}")
        version = (answer.body.get("data") or {}).get("version")
        if not isinstance(version, int):
            raise StoredDataInvalid(f"Vault did not say which version of {where} it wrote", "Is it a KV v2 mount?")
        return version

    def current_version(self, where: Location, deadline: Deadline) -> int:
        """The newest version's number, 0 where there is none; needs no right to read the data (KV v2)."""
        answer = self._session.call("GET", api_path(where, "metadata"), deadline)
        version = (answer.body.get("data") or {}).get("current_version")
        if isinstance(version, int):
            return version
        self.check_mount(where, deadline)
        return 0

    def may_write(self, where: Location, deadline: Deadline) -> bool:
        """Whether our token may write there, as Vault's own `sys/capabilities-self` has it; True where it won't say."""
        path = api_path(where, "data")
        try:
            answer = self._session.call("POST", "sys/capabilities-self", deadline, {"paths": [path]})
        except VaultDenied:
            return True
        found = answer.body.get(path) or (answer.body.get("data") or {}).get(path)
        return not isinstance(found, list) or bool({"root", "update", "create"} & set(found))

    def expire(self, where: Location, after: float, deadline: Deadline) -> None:
        body = {"delete_version_after": f"{int(after)}s", "max_versions": TICKET_VERSIONS}
        _expect_ok(self._session.call("POST", api_path(where, "metadata"), deadline, body), f"setting up {where}")

    def destroy(self, where: Location, versions: list[int], deadline: Deadline) -> None:
        if where.kv_version == 1:
            _expect_ok(self._session.call("DELETE", api_path(where, "data"), deadline), f"deleting {where}")
            return
        answer = self._session.call("POST", api_path(where, "destroy"), deadline, {"versions": versions})
        _expect_ok(answer, f"destroying {where}")

    def check_mount(self, where: Location, deadline: Deadline) -> None:
        """ConfigError where there is no such mount that we have rights in, or one that is not KV of that version."""
        try:
            answer = self._session.call("GET", f"sys/internal/ui/mounts/{where.mount}", deadline)
        except VaultDenied:
            # Whoever may do anything below a mount may ask this. So nobody, where there is none.
            raise ConfigError(
                f"Vault has no mount {where.mount}, or our token may do nothing there",
                "Correct `mount` in the profile, or the token's policies.",
            ) from None
        found = answer.body.get("data")
        if answer.status == 404 and answer.errors:
            raise ConfigError(f"Vault can't find {where}: {answer.errors}", "Check VAULT_NAMESPACE or `namespace`.")
        if not isinstance(found, Mapping):
            return
        kind = found.get("type")
        version = str((found.get("options") or {}).get("version", "1"))
        if kind not in ("kv", "generic"):
            raise ConfigError(f"{where.mount} is a mount of type {kind}, not kv", "Correct `mount` in the profile.")
        if version != str(where.kv_version):
            raise ConfigError(
                f"{where.mount} is a KV v{version} mount, and the profile says v{where.kv_version} for {where}",
                "Correct `kv_version` in the profile; a grant needs v2 (`vault secrets enable -version=2 kv`).",
            )


def api_path(where: Location, part: str) -> str:
    """The API path of a document's `data` or `metadata` (KV v2; v1 has only one)."""
    return f"{where.mount}/{where.path}" if where.kv_version == 1 else f"{where.mount}/{part}/{where.path}"


def _expect_ok(answer: Answer, doing: str) -> None:
    if answer.status == 400:
        raise refused(answer, doing)
    if answer.status == 404:
        raise _no_mount(doing)


def _no_mount(doing: str) -> VaultTicketError:
    return ConfigError(f"Vault has no place for {doing}", "Check `mount` in the profile.")


def _versioned(found: Mapping[str, Any], where: Location) -> Document:
    metadata, data = found.get("metadata"), found.get("data")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("version"), int):
        raise ConfigError(f"{where} is not in a KV v2 mount", "Correct `kv_version` in the profile.")
    return Document(
        data=data if isinstance(data, Mapping) else None,
        version=metadata["version"],
        created_at=_time(metadata.get("created_time")),
        deletes_at=_time(metadata.get("deletion_time")),
    )


def _time(text: object) -> float | None:
    try:
        return from_rfc3339(text) if isinstance(text, str) and text else None
    except ValueError:
        return None
