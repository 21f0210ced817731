"""What the emulator knows of grants: families of refresh tokens, rotation, grace, reuse. No HTTP here."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

SIGNING_KEY = b"the emulator's own, and nobody's secret"


class OAuthError(Exception):
    """An error answer of RFC 6749 §5.2."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.description = description
        self.status = status


@dataclass(slots=True)
class Policy:
    """How the server treats refresh tokens; read anew at every request."""

    lifetime: int = 3600  # of an access token, in seconds
    rotate: bool = True
    grace: float = 0.0  # for so long the token before the current one gets the same pair again
    reuse_detection: bool = True  # a rotated token outside the grace revokes its whole family


@dataclass(slots=True)
class Family:
    """All that came of one grant that a person made."""

    client_id: str
    current: str = ""
    revoked: bool = False


@dataclass(slots=True)
class Refresh:
    family: Family
    spent_at: float | None = None
    answer: dict[str, Any] = field(default_factory=dict)  # the pair it was exchanged for


@dataclass(slots=True)
class Access:
    family: Family
    expires_at: float
    revoked: bool = False


@dataclass(slots=True)
class Counts:
    refreshes: int = 0  # new pairs made: how often a refresh token was spent
    repeats: int = 0  # the same pair given again, inside the grace
    reuses: int = 0  # a rotated token presented outside the grace
    rejected: int = 0  # answered with an OAuth error, reuses included
    revoked_families: int = 0


class Grants:
    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.counts = Counts()
        self._lock = threading.Lock()
        self._clients: set[str] = set()
        self._refresh: dict[str, Refresh] = {}
        self._access: dict[str, Access] = {}

    def issue(self, client_id: str) -> str:
        """A refresh token, as a person gets one in the settings."""
        with self._lock:
            self._clients.add(client_id)
            return self._new_refresh(Family(client_id))

    def refresh(self, form: dict[str, str]) -> dict[str, Any]:
        """The refresh grant, whole: an answer's fields, or OAuthError."""
        with self._lock:
            try:
                return self._spend(form)
            except OAuthError:
                self.counts.rejected += 1
                raise

    def _spend(self, form: dict[str, str]) -> dict[str, Any]:
        if form.get("grant_type") != "refresh_token":
            raise OAuthError("unsupported_grant_type", "only refresh_token")
        if not form.get("refresh_token") or not form.get("client_id"):
            raise OAuthError("invalid_request", "refresh_token and client_id are needed")
        if form["client_id"] not in self._clients:
            raise OAuthError("invalid_client", "no such client", 401)
        found = self._refresh.get(form["refresh_token"])
        if found is None or found.family.revoked or found.family.client_id != form["client_id"]:
            raise OAuthError("invalid_grant", "the refresh token is unknown, revoked or another client's")
        if found.spent_at is not None:
            return self._again(found)
        return self._exchange(form["refresh_token"], found)

    def _again(self, found: Refresh) -> dict[str, Any]:
        newer = found.answer["refresh_token"]
        in_grace = time.time() - (found.spent_at or 0) <= self.policy.grace
        if in_grace and found.family.current == newer:
            self.counts.repeats += 1
            return dict(found.answer)
        self.counts.reuses += 1
        if self.policy.reuse_detection:
            self._revoke(found.family)
        raise OAuthError("invalid_grant", "the refresh token was rotated before")

    def _exchange(self, token: str, found: Refresh) -> dict[str, Any]:
        self.counts.refreshes += 1
        answer = {
            "access_token": self._new_access(found.family),
            "token_type": "bearer",
            "expires_in": max(self.policy.lifetime - 1, 0),
            "refresh_token": token,
        }
        if self.policy.rotate:
            answer["refresh_token"] = self._new_refresh(found.family)
            found.spent_at, found.answer = time.time(), dict(answer)
        return answer

    def _new_refresh(self, family: Family) -> str:
        family.current = base64.b64encode(secrets.token_bytes(32)).decode()
        self._refresh[family.current] = Refresh(family)
        return family.current

    def _new_access(self, family: Family) -> str:
        now = int(time.time())
        expires_at = now + self.policy.lifetime
        claims = {
            "cid": family.client_id,
            "type": "Community",
            "nbf": now,
            "exp": expires_at,
            "iss": "socialboards.com",
            "aud": "https://api.socialboards.com",
            "jti": uuid.uuid4().hex,
        }
        token = jwt(claims)
        self._access[token] = Access(family, expires_at)
        return token

    def tokens(self) -> tuple[set[str], set[str]]:
        """All refresh tokens and all access tokens that were ever given out."""
        with self._lock:
            return set(self._refresh), set(self._access)

    def revoke(self, token: str) -> None:
        """RFC 7009: a refresh token takes its family with it, an access token only itself."""
        with self._lock:
            if token in self._refresh:
                self._revoke(self._refresh[token].family)
            elif token in self._access:
                self._access[token].revoked = True

    def _revoke(self, family: Family) -> None:
        self.counts.revoked_families += not family.revoked
        family.revoked = True

    def access_alive(self, token: str) -> bool:
        """Whether the protected API takes this access token now."""
        with self._lock:
            found = self._access.get(token)
            return bool(found and not found.revoked and not found.family.revoked and time.time() < found.expires_at)

    def refresh_alive(self, token: str) -> bool:
        """Whether this refresh token is its family's current one."""
        with self._lock:
            found = self._refresh.get(token)
            return bool(found and not found.family.revoked and found.family.current == token)

    def newest(self, token: str) -> str:
        """The refresh token that this one's family has come to."""
        with self._lock:
            return self._refresh[token].family.current


def jwt(claims: dict[str, Any]) -> str:
    """A JWT signed with HS512."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "HS512", "typ": "JWT"}, claims)]
    signed = b".".join(_b64(part) for part in parts)
    return (signed + b"." + _b64(hmac.digest(SIGNING_KEY, signed, hashlib.sha512))).decode()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
