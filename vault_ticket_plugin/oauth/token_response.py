"""The token endpoint's answer, told apart once: what was obtained, what was spent, what may be tried again.

RFC 6749 sections 5.1 and 5.2. docs/protocol.md has the table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from vault_ticket_plugin import jwt
from vault_ticket_plugin.errors import (
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    ProtocolError,
    SpendInDoubt,
    VaultTicketError,
)
from vault_ticket_plugin.model import TokenResponse
from vault_ticket_plugin.secret import Secret

# No access token is meant to live that long: a server that says so means something else.
MAX_LIFETIME = 10 * 366 * 86400.0
# RFC 6749 section 5.2, and those of RFC 6749 section 4.1.2.1 that servers were seen to use here.
CLIENT_ERRORS = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_request", "invalid_scope"}
)
PASSING_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
# The server says that it did nothing; 408 and 425 say so too.
NOT_SPENT = frozenset({408, 425, 429, 503})
CHECK_URL = "Check token_url in the profile."
RENEW = "Create another one (Settings → Installation → Public API), then run `vault-ticket store`."
LATER = "It is tried again by itself; look at the service's status page if it goes on."


def read(status: int, headers: Mapping[str, str], body: bytes, default_lifetime: float, now: float) -> TokenResponse:
    """What a whole answer means. Header names are lower case; `now`: seconds since the epoch.

    Raises EndpointUnavailable (not spent), SpendInDoubt, GrantRejected, ClientRejected, ProtocolError.
    """
    plain = _object(body)
    if 200 <= status < 300:  # RFC 6749 says 200; what another one brings is not thrown away
        return _success(plain, headers, default_lifetime, now)

    code = _code(plain)
    if code in PASSING_ERRORS or status in NOT_SPENT:
        said = code or f"status {status}"
        raise EndpointUnavailable(f"the token endpoint is busy ({said})", LATER, retry_after=retry_after(headers, now))

    if code == "invalid_grant":
        raise GrantRejected("the token endpoint says that the refresh token is not valid", RENEW, code=code)
    if code in CLIENT_ERRORS or status == 401:
        raise ClientRejected(
            f"the token endpoint refuses the client or the request ({code or 'status 401'})",
            "Check client_id and token_url in the profile.",
            code=code or "invalid_client",
        )

    if status >= 500:
        raise SpendInDoubt(f"the token endpoint failed (status {status})", LATER, retry_after=retry_after(headers, now))
    if 300 <= status < 400:
        raise ProtocolError(
            f"the token endpoint redirects (status {status}); a refresh token is not sent on", CHECK_URL
        )
    raise ProtocolError(f"the token endpoint's answer is not OAuth (status {status})", CHECK_URL)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait (RFC 9110 section 10.2.3: a number or a date), or None."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # a number of ten digits is three centuries
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _success(
    plain: Mapping[str, Any] | None, headers: Mapping[str, str], default_lifetime: float, now: float
) -> TokenResponse:
    if plain is None:
        raise ProtocolError("the token endpoint's answer is not a JSON object", CHECK_URL)

    refresh_token = _refresh_token(plain)
    try:
        token = _text(plain, "access_token")
        kind = _text(plain, "token_type", "Bearer")
        if kind.lower() != "bearer":
            raise ProtocolError(f"the token endpoint gave a token of type {kind[:40]}, not Bearer", CHECK_URL)
        server_time = _date(headers) or now
        return TokenResponse(
            access_token=Secret(token),
            expires_in=_lifetime(plain.get("expires_in"), token, default_lifetime, server_time),
            refresh_token=refresh_token,
        )
    except VaultTicketError as fault:
        # The server may have rotated the refresh token all the same: that one is not thrown away.
        if refresh_token is None:
            raise
        return TokenResponse(access_token=None, refresh_token=refresh_token, fault=fault)


def _code(plain: Mapping[str, Any] | None) -> str:
    """The error code where it is one of those above. Any other text is not quoted: a server may echo what we sent."""
    code = plain.get("error") if plain else None
    known = CLIENT_ERRORS | PASSING_ERRORS | {"invalid_grant"}
    return code if isinstance(code, str) and code in known else ""


def _object(body: bytes) -> Mapping[str, Any] | None:
    """Read as leniently as can be: what is wrong in one field must not cost us a rotated refresh token in another."""
    try:
        text = body.decode(json.detect_encoding(body), "replace")
        # As floats, integers may have any number of digits.
        plain = json.loads(text, strict=False, parse_int=float)
    except (ValueError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None


def _refresh_token(plain: Mapping[str, Any]) -> Secret | None:
    token = plain.get("refresh_token")
    return Secret(token) if isinstance(token, str) and token.strip() and token.isprintable() else None


def _text(plain: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = plain.get(name, default)
    if not isinstance(value, str) or not value:
        raise ProtocolError(f"the token endpoint's answer has no {name}", CHECK_URL)
    # RFC 6749 appendix A.12: printable ASCII. Anything else could end up as a second header or command.
    if not all("!" <= letter <= "~" for letter in value):
        raise ProtocolError(
            f"the {name} in the token endpoint's answer has spaces or control characters in it", CHECK_URL
        )
    return value


def _lifetime(value: object, token: str, default: float, server_time: float) -> float:
    """`expires_in`, else what the JWT's `exp` leaves, else the configured default; seconds."""
    if value is None:
        expires_at = _jwt_expiry(token)
        return default if expires_at is None else _checked(expires_at - server_time)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = math.nan
    return _checked(value)


def _checked(seconds: float) -> float:
    if not 0 < seconds <= MAX_LIFETIME:  # false for NaN too
        raise ProtocolError(
            "the token endpoint's answer has an expires_in that no token can have",
            "Report it to the service's support.",
        )
    return float(seconds)


def _jwt_expiry(token: str) -> float | None:
    """RFC 7519 section 4.1.4: it only tells when to ask again."""
    expires_at = jwt.claims(token).get("exp")
    try:
        return None if expires_at is None or isinstance(expires_at, bool) else float(expires_at)
    except (ValueError, TypeError, OverflowError):
        return None


def _date(headers: Mapping[str, str]) -> float | None:
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
