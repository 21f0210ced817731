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
from vault_ticket_plugin.model import MAX_LIFETIME, TokenResponse
from vault_ticket_plugin.secret import Secret

# RFC 6749 section 5.2, and those of RFC 6749 section 4.1.2.1 that servers were seen to use here.
CLIENT_ERRORS = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_request", "invalid_scope"}
)
# These say that nothing was done: RFC 6749 section 4.1.2.1, and RFC 8628 section 3.5.
NOT_SPENT_ERRORS = frozenset({"temporarily_unavailable", "slow_down"})
# RFC 8470 section 5.2 and RFC 6585 section 4 refuse a request before it is processed. A 503 does not say so: gateways
# send it after the server behind them has processed the request and its answer was lost.
NOT_SPENT = frozenset({425, 429})
# The request may have been processed. A gateway or a firewall sends 401 and 403 too, before the server or after it.
IN_DOUBT = frozenset({401, 403, 408})
SERVER_ERROR = "server_error"
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
    if code in NOT_SPENT_ERRORS or status in NOT_SPENT:
        said = code or f"status {status}"
        raise EndpointUnavailable(f"the token endpoint is busy ({said})", LATER, retry_after=retry_after(headers, now))

    if code == "invalid_grant":
        raise GrantRejected("the token endpoint says that the refresh token is not valid", RENEW, code=code)
    if code in CLIENT_ERRORS:
        raise ClientRejected(
            f"the token endpoint refuses the client or the request ({code})",
            "Check client_id and token_url in the profile.",
            code=code,
        )

    if code == SERVER_ERROR or status >= 500 or status in IN_DOUBT:
        said = code or f"status {status}"
        raise SpendInDoubt(
            f"the token endpoint failed ({said}), and may have spent the refresh token",
            LATER,
            retry_after=retry_after(headers, now),
        )
    if 300 <= status < 400:
        raise ProtocolError(
            f"the token endpoint redirects (status {status}); a refresh token is not sent on", CHECK_URL
        )
    raise ProtocolError(f"the token endpoint's answer is not OAuth (status {status})", CHECK_URL)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait (RFC 9110 section 10.2.3: a number or a date), or None.

    A date is judged by the answer's own `Date`: this host's clock may be hours off. `now` is for an answer without one.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # a number of ten digits is three centuries
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - (_date(headers) or now))
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
    known = CLIENT_ERRORS | NOT_SPENT_ERRORS | {SERVER_ERROR, "invalid_grant"}
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
    """Cut to ten years; not one that has ended, nor NaN."""
    if not seconds > 0:
        raise ProtocolError(
            "the token endpoint's answer has an expires_in that no token can have",
            "Report it to the service's support.",
        )
    return min(float(seconds), MAX_LIFETIME)


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
