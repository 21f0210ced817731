"""The token endpoint's answer: each row of the table of outcomes, and anything at all that a server may send."""

import base64
import json
import math
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault_ticket_plugin.errors import (
    ClientRejected,
    EndpointUnavailable,
    GrantRejected,
    ProtocolError,
    SpendInDoubt,
    VaultTicketError,
)
from vault_ticket_plugin.model import MAX_LIFETIME, TokenResponse
from vault_ticket_plugin.oauth import token_response
from vault_ticket_plugin.secret import Secret

NOW = 1_800_000_000.0
DEFAULT = 1234.0
ACCESS, ROTATED = "m4rk3d-access", "m4rk3d-rotated+/="
SOUND: Mapping[str, Any] = {
    "access_token": ACCESS,
    "token_type": "bearer",
    "expires_in": 3599,
    "refresh_token": ROTATED,
}


def read(status: int, body: object, headers: Mapping[str, str] | None = None) -> TokenResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return token_response.read(status, headers or {}, content, DEFAULT, NOW)


def success(*without: str, **fields: object) -> TokenResponse:
    plain = {name: value for name, value in SOUND.items() if name not in without}
    return read(200, plain | fields)


def jwt(claims: object, signature: str = "c2lnbmF0dXJl") -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return f"eyJhbGciOiJIUzUxMiJ9.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.{signature}"


def test_a_sound_answer_is_read_as_the_ticket_api_sends_it() -> None:
    found = success(scope="tickets", unknown={"a": [1]})
    assert found.access_token == Secret(ACCESS)
    assert found.refresh_token == Secret(ROTATED)
    assert (found.token_type, found.expires_in, found.fault) == ("Bearer", 3599.0, None)


BUSY, DOUBT, DEAD, CLIENT, NO_OAUTH = EndpointUnavailable, SpendInDoubt, GrantRejected, ClientRejected, ProtocolError
HTML = b"<!doctype html><title>m4rk3d</title>"
OUTCOMES: list[tuple[int, object, type[VaultTicketError]]] = [
    # the refresh token is dead
    (400, {"error": "invalid_grant"}, DEAD),
    (401, {"error": "invalid_grant"}, DEAD),
    (403, {"error": "invalid_grant", "error_description": "expired"}, DEAD),
    # configuration
    *((400, {"error": code}, CLIENT) for code in sorted(token_response.CLIENT_ERRORS)),
    (401, {"error": "invalid_client"}, CLIENT),
    (403, {"error": "unauthorized_client"}, CLIENT),
    # passing, and not spent: the server says so itself
    *((status, {"error": "temporarily_unavailable"}, BUSY) for status in (400, 500, 503)),
    *((status, {"error": "slow_down"}, BUSY) for status in (400, 503)),
    *((status, body, BUSY) for status in (425, 429) for body in (HTML, b"", {"error": "other"})),
    # may have been spent
    *((status, {"error": "server_error"}, DOUBT) for status in (400, 500, 503)),
    *((status, body, DOUBT) for status in (401, 403, 408) for body in (HTML, b"", {}, {"error": "invalid_token"})),
    *((status, body, DOUBT) for status in (500, 502, 503, 504, 520, 599) for body in (HTML, b"", {"error": "other"})),
    # not OAuth
    *((status, b"", NO_OAUTH) for status in (300, 301, 302, 303, 307, 308)),
    *((status, body, NO_OAUTH) for status in (400, 404, 405, 410) for body in (HTML, b"", {}, {"error": "other"})),
    *((200, body, NO_OAUTH) for body in (HTML, b"", b"\xff", b"null", b"[]", b'"text"', b"5", b'{"access_token": "a"')),
    (200, {}, NO_OAUTH),
    (200, {"error": "invalid_grant"}, NO_OAUTH),
    (204, b"", NO_OAUTH),
]


@pytest.mark.parametrize(("status", "body", "expected"), OUTCOMES)
def test_each_outcome_is_told_apart(status: int, body: object, expected: type[VaultTicketError]) -> None:
    with pytest.raises(VaultTicketError) as refused:
        read(status, body)
    assert type(refused.value) is expected
    assert refused.value.message
    assert refused.value.hint
    assert "m4rk3d" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize(("status", "redirects"), [(299, False), (300, True), (308, True), (399, True), (400, False)])
def test_a_redirect_is_told_as_one(status: int, redirects: bool) -> None:
    with pytest.raises(ProtocolError) as refused:
        read(status, b"", {"location": "https://elsewhere.example/m4rk3d"})
    assert ("redirects" in refused.value.message) is redirects
    assert "m4rk3d" not in refused.value.message + refused.value.hint


def test_rejections_carry_the_servers_code() -> None:
    with pytest.raises(GrantRejected) as dead:
        read(400, {"error": "invalid_grant"})
    assert dead.value.code == "invalid_grant"
    with pytest.raises(ClientRejected) as client:
        read(400, {"error": "invalid_scope"})
    assert client.value.code == "invalid_scope"


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
@pytest.mark.parametrize("error", [ROTATED, f"\x1b[2J{ROTATED}", [ROTATED], {"x": ROTATED}, f"invalid_grant {ROTATED}"])
def test_an_error_code_that_nobody_knows_is_neither_quoted_nor_kept(status: int, error: object) -> None:
    """A server that echoes what it was sent does not bring it to a terminal or into Vault."""
    with pytest.raises(VaultTicketError) as refused:
        read(status, {"error": error, "error_description": ROTATED})
    assert ROTATED not in refused.value.message + refused.value.hint + getattr(refused.value, "code", "")


NO_TIMES: tuple[object, ...] = ("soon", None, True, [], {}, 10**400)


class TestLifetime:
    @pytest.mark.parametrize(
        ("expires_in", "seconds"),
        [
            (3599, 3599.0),
            (3599.5, 3599.5),
            ("3599", 3599.0),
            (" 3599 ", 3599.0),
            ("3599.0", 3599.0),
            (1, 1.0),
            (0.001, 0.001),
            (MAX_LIFETIME, MAX_LIFETIME),
        ],
    )
    def test_a_number_or_a_numeric_text_is_the_lifetime(self, expires_in: object, seconds: float) -> None:
        assert success(expires_in=expires_in).expires_in == seconds

    @pytest.mark.parametrize(
        "expires_in",
        [MAX_LIFETIME + 1, 10**12, 10**400, math.inf, "inf", "1e999", "9" * 5000],
        ids=lambda value: repr(value)[:16],
    )
    def test_is_cut_to_ten_years(self, expires_in: object) -> None:
        assert success(expires_in=expires_in).expires_in == MAX_LIFETIME

    @pytest.mark.parametrize(
        "expires_in",
        [
            *(0, -1, -3600, "-1", "0", "", "soon", "NaN", "-inf", True, False, [], [3600], {}),
            *(math.nan, -math.inf),
        ],
        ids=lambda value: repr(value)[:16],
    )
    def test_one_that_no_token_can_have_is_an_error_that_keeps_the_rotated_token(self, expires_in: object) -> None:
        found = success(expires_in=expires_in)
        assert found.access_token is None
        assert isinstance(found.fault, ProtocolError)
        assert "expires_in" in found.fault.message
        assert found.refresh_token == Secret(ROTATED)
        with pytest.raises(ProtocolError, match="expires_in"):
            success("refresh_token", expires_in=expires_in)

    @pytest.mark.parametrize("missing", [{}, {"expires_in": None}])
    def test_without_one_the_jwts_expiry_counts(self, missing: dict[str, object]) -> None:
        plain = {"access_token": jwt({"exp": NOW + 900, "nbf": NOW}), "token_type": "bearer"} | missing
        assert read(200, plain).expires_in == pytest.approx(900)

    def test_the_jwts_expiry_is_judged_by_the_servers_clock(self) -> None:
        """This host's may be hours off."""
        plain = {"access_token": jwt({"exp": NOW + 900})}
        date = formatdate(NOW + 300, usegmt=True)
        shifted = token_response.read(200, {"date": date}, json.dumps(plain).encode(), DEFAULT, NOW - 86400)
        assert shifted.expires_in == pytest.approx(900 - 300)

    @pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Foo 2026", "0" * 5000])
    def test_a_date_that_is_none_leaves_it_to_this_hosts_clock(self, date: str) -> None:
        plain = {"access_token": jwt({"exp": NOW + 900})}
        assert read(200, plain, {"date": date}).expires_in == pytest.approx(900)

    @pytest.mark.parametrize("expiry", [NOW, NOW - 1, 0, -1, math.nan])
    def test_a_jwt_that_is_over_is_an_error(self, expiry: float) -> None:
        with pytest.raises(ProtocolError, match="expires_in"):
            read(200, {"access_token": jwt({"exp": expiry})})

    @pytest.mark.parametrize("expiry", [NOW + 2 * MAX_LIFETIME, 1e300, math.inf])
    def test_a_jwts_expiry_is_cut_to_ten_years(self, expiry: float) -> None:
        assert read(200, {"access_token": jwt({"exp": expiry})}).expires_in == MAX_LIFETIME

    @pytest.mark.parametrize(
        "token",
        [
            *("opaque", "a.b", "a.b.c", "..", "a.!!!.c", jwt({}), jwt([]), jwt("exp"), jwt(5), jwt(None), jwt(b"{")),
            *(jwt({"exp": value}) for value in NO_TIMES),
            *(jwt(b"\xff\xfe\xfd"), jwt(b"[" * 5000)),
        ],
        ids=lambda token: token[:30],
    )
    def test_without_any_expiry_the_configured_default_counts(self, token: str) -> None:
        assert read(200, {"access_token": token}).expires_in == DEFAULT


class TestTokens:
    @pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER", "bEaReR"])
    def test_the_type_is_read_whatever_its_case_and_spelt_as_the_header_wants_it(self, kind: str) -> None:
        assert success(token_type=kind).token_type == "Bearer"

    def test_a_missing_type_is_bearer(self) -> None:
        assert success("token_type").access_token == Secret(ACCESS)

    FAULTS: Mapping[str, dict[str, object]] = {
        "another type": {"token_type": "mac"},
        "no type": {"token_type": None},
        "a type that is no text": {"token_type": 5},
        "a type with a line in it": {"token_type": "bearer\nX: y"},
        "no access token": {"access_token": None},
        "an empty access token": {"access_token": ""},
        "an access token that is no text": {"access_token": {"a": 1}},
        "an access token with a space": {"access_token": "a b"},
        "an access token with a line end": {"access_token": "a\r\nSet-Cookie: x"},
        "an access token with a NUL": {"access_token": "a\0"},
        "an access token beyond ASCII": {"access_token": "tökén"},
        "half a surrogate": {"access_token": "a\ud800"},
        "a lifetime that is none": {"expires_in": -1},
        "everything": {"access_token": [], "token_type": [], "expires_in": []},
    }

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_rotated_refresh_token_survives_any_fault_in_the_rest(self, fault: str) -> None:
        found = success(**self.FAULTS[fault])
        assert found.access_token is None
        assert isinstance(found.fault, ProtocolError)
        assert found.refresh_token == Secret(ROTATED)
        with pytest.raises(ProtocolError):
            success("refresh_token", **self.FAULTS[fault])

    @pytest.mark.parametrize(
        "body",
        [
            b'{"refresh_token": "%s", "access_token": "a", "x": "\xe9t\xe9"}',
            b'{"refresh_token": "%s", "access_token": "a", "x": "two\nlines\x01"}',
            b'{"refresh_token": "%s", "access_token": "a", "x": ' + b"9" * 5000 + b"}",
            b'{"refresh_token": "old", "refresh_token": "%s", "access_token": "a"}',
            b'\xef\xbb\xbf{"refresh_token": "%s", "access_token": "a"}',
        ],
        ids=["latin-1", "raw control characters", "a long number", "the key twice", "byte order mark"],
    )
    def test_json_that_is_a_little_wrong_elsewhere_costs_nothing(self, body: bytes) -> None:
        found = read(200, body.replace(b"%s", ROTATED.encode()))
        assert found.refresh_token == Secret(ROTATED)
        assert found.access_token == Secret("a")

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
    def test_every_encoding_of_json_is_read(self, encoding: str) -> None:
        assert read(200, json.dumps(SOUND).encode(encoding)).refresh_token == Secret(ROTATED)

    @pytest.mark.parametrize("token", [None, "", "  ", 5, [], {}, "two\nlines", "a\0", "\ud800"])
    def test_a_refresh_token_that_is_none_means_that_the_old_one_stays(self, token: object) -> None:
        found = success(refresh_token=token)
        assert found.refresh_token is None
        assert found.access_token == Secret(ACCESS)

    def test_deeply_nested_json_is_not_oauth(self) -> None:
        with pytest.raises(ProtocolError):
            read(200, b'{"a":' * 100_000)
        with pytest.raises(SpendInDoubt):
            read(500, b"[" * 100_000)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0.0),
            ("7", 7.0),
            (" 120 ", 120.0),
            ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
            ("Fri, 15 Jan 2027 09:01:00 +0100", 60.0),
            ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("٣", None),
            ("Fri, 99 Jan 2027 08:00:00 GMT", None),
        ],
    )
    @pytest.mark.parametrize("status", [429, 503, 500])
    def test_seconds_a_date_or_nothing(self, status: int, text: str, seconds: float | None) -> None:
        with pytest.raises(EndpointUnavailable) as busy:
            read(status, b"", {"retry-after": text})
        assert busy.value.retry_after == seconds

    def test_a_date_is_judged_by_the_answers_own(self) -> None:
        """This host's clock may be hours off."""
        headers = {"date": "Fri, 15 Jan 2027 20:00:00 GMT", "retry-after": "Fri, 15 Jan 2027 20:02:00 GMT"}

        assert token_response.retry_after(headers, NOW) == 120.0

    def test_a_number_of_any_length_is_finite(self) -> None:
        assert (token_response.retry_after({"retry-after": "9" * 5000}, NOW) or 0) < 1e9

    dates = st.text(st.sampled_from("0123456789:+- MonTueJanDecGMTZ,")) | st.text()

    @given(dates)
    @example("Mon, 01 Jan 0001 00:00:00 -0000")
    @example("Fri, 31 Dec 9999 23:59:59 -0000")
    @example("Fri, 31 Dec 9999 23:59:59 -2359")
    def test_no_text_brings_anything_but_seconds_or_nothing(self, text: str) -> None:
        found = token_response.retry_after({"retry-after": text}, NOW)
        assert found is None or (math.isfinite(found) and found >= 0)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["bearer", jwt({"exp": NOW})]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
bodies = st.binary(max_size=80) | st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.sampled_from([ACCESS, jwt({"exp": NOW + 60})]) | anything,
        "token_type": st.sampled_from(["bearer", "Bearer"]) | anything,
        "expires_in": st.sampled_from([3599, "60"]) | anything,
        "refresh_token": st.sampled_from([ROTATED]) | anything,
        "error": st.sampled_from([*sorted(token_response.CLIENT_ERRORS), "invalid_grant", "server_error"]) | anything,
    },
).map(lambda plain: json.dumps(plain).encode())
headers = st.dictionaries(st.sampled_from(["date", "retry-after"]), TestRetryAfter.dates, max_size=2)


@given(status=st.sampled_from([200, 400, 401, 429, 500, 503]) | st.integers(100, 999), headers=headers, body=bodies)
@example(status=200, headers={"date": "Mon, 01 Jan 0001 00:00:00 -0000"}, body=b'{"access_token": "a"}')
def test_any_answer_is_a_usable_ticket_or_one_of_the_documented_errors(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    try:
        found = token_response.read(status, headers, body, DEFAULT, NOW)
    except (EndpointUnavailable, GrantRejected, ClientRejected, ProtocolError) as error:
        assert error.message  # noqa: PT017 - both ends are right
        assert "m4rk3d" not in error.message + error.hint  # noqa: PT017
        return
    assert 200 <= status < 300
    assert found.token_type == "Bearer"
    if found.refresh_token is not None:
        assert found.refresh_token.reveal().isprintable()
    if found.access_token is None:
        assert isinstance(found.fault, ProtocolError)
        assert found.refresh_token is not None
    else:
        assert found.fault is None
        assert all("!" <= letter <= "~" for letter in found.access_token.reveal())
        assert 0 < found.expires_in <= MAX_LIFETIME
