"""The API paths that a policy grants and that the code calls, each spelled once (https://openbao.org/api-docs/)."""

from __future__ import annotations

from vault_ticket_plugin.model import Location

# What a token may ask about itself, and do with itself.
LOOKUP_SELF = "auth/token/lookup-self"
CAPABILITIES_SELF = "sys/capabilities-self"
REVOKE_SELF = "auth/token/revoke-self"
RENEW_SELF = "auth/token/renew-self"
# Response wrapping.
WRAP = "sys/wrapping/wrap"
UNWRAP = "sys/wrapping/unwrap"
WRAPPING_LOOKUP = "sys/wrapping/lookup"
# What a server says of itself to anybody, sealed or not. Only the root namespace has it.
SEAL_STATUS = "sys/seal-status"
# The mounts that a token may see, to anybody: an anonymous caller sees none.
VISIBLE_MOUNTS = "sys/internal/ui/mounts"


def data(where: Location) -> str:
    return _part(where, "data")


def metadata(where: Location) -> str:
    return _part(where, "metadata")


def destroy(where: Location) -> str:
    return _part(where, "destroy")


def all_parts(where: Location) -> list[str]:
    """Everything that the API has of a document."""
    parts = ("data", "metadata", "delete", "undelete", "destroy")
    return [_part(where, part) for part in parts] if where.kv_version == 2 else [data(where)]


def mount_of(where: Location) -> str:
    """Type and version of the mount, for any token with some right below it."""
    return f"sys/internal/ui/mounts/{where.mount}"


def login(mount: str) -> str:
    return f"auth/{mount}/login"


def is_login(path: str) -> bool:
    return path.startswith("auth/") and path.endswith("/login")


def _part(where: Location, part: str) -> str:
    """KV v1 has a document in one piece."""
    return f"{where.mount}/{where.path}" if where.kv_version == 1 else f"{where.mount}/{part}/{where.path}"
