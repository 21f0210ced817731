"""A long run's own token, against the real server: renewed or replaced in time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.bao import DevServer
from tests.support.process import wait_until
from vault_ticket_plugin.clock import HOST_CLOCK, Deadline
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.vault import Auth, VaultSettings
from vault_ticket_plugin.vault.logins import log_in
from vault_ticket_plugin.vault.messages import VaultRequest
from vault_ticket_plugin.vault.session import VaultSession
from vault_ticket_plugin.vault.token_renewal import LATEST, RETRY, keep_token


def deadline() -> Deadline:
    return Deadline.after(10)


@contextmanager
def session_of(bao: DevServer, auth: Auth) -> Iterator[VaultSession]:
    session = VaultSession(VaultSettings(bao.address, auth), log_in, HOST_CLOCK)
    try:
        yield session
    finally:
        session.revoke_own_login(deadline())
        session.close()


def approle(bao: DevServer, tmp_path: Path, **params: Any) -> Auth:
    bao.write_policy("upkeep", 'path "secret/*" { capabilities = ["read"] }')
    role_id, secret_id = bao.enable_approle(f"upkeep-{tmp_path.name}", ["upkeep"], **params)
    file = tmp_path / "secret_id"
    file.write_text(secret_id)
    return Auth("approle", mount="approle", role_id=role_id, secret_id_file=str(file))


def own(session: VaultSession) -> tuple[str, float]:
    """Accessor and remaining seconds of the session's token."""
    data = session.send(VaultRequest("GET", "auth/token/lookup-self"), deadline()).body["data"]
    return data["accessor"], data["ttl"]


def near_its_end(session: VaultSession) -> str:
    """Wait for the last half of a token of six seconds; its accessor."""
    assert keep_token(session, deadline()) <= 2
    wait_until(lambda: own(session)[1] <= 2, "the token's end to come near")
    return own(session)[0]


def test_a_renewable_token_is_renewed_and_stays_the_same(bao: DevServer, tmp_path: Path) -> None:
    with session_of(bao, approle(bao, tmp_path, token_ttl="6s", token_max_ttl="1h")) as session:
        before = near_its_end(session)
        assert keep_token(session, deadline()) <= 2
        accessor, left = own(session)
        assert accessor == before
        assert left > 3


def test_before_its_last_end_another_login_replaces_it(bao: DevServer, tmp_path: Path) -> None:
    """A renewal that max_ttl cuts short brings too little."""
    with session_of(bao, approle(bao, tmp_path, token_ttl="6s", token_max_ttl="6s")) as session:
        before = near_its_end(session)
        keep_token(session, deadline())
        accessor, left = own(session)
        assert accessor != before
        assert left > 3


def test_a_batch_token_is_replaced(bao: DevServer, tmp_path: Path) -> None:
    """It can't be renewed."""
    with session_of(bao, approle(bao, tmp_path, token_ttl="6s", token_type="batch")) as session:
        near_its_end(session)
        keep_token(session, deadline())
        assert own(session)[1] > 3


def test_a_token_that_never_ends_is_left_alone(bao: DevServer) -> None:
    with session_of(bao, Auth("token", token=Secret(bao.root_token))) as session:
        assert keep_token(session, deadline()) == LATEST


def test_a_token_that_may_not_look_at_itself_is_left_alone(bao: DevServer) -> None:
    token = bao.token_for("ticket-reader", ttl="1m", no_default_policy=True)
    with session_of(bao, Auth("token", token=Secret(token))) as session:
        assert keep_token(session, deadline()) == LATEST


def test_a_token_that_ended_without_another_way_in_is_told(bao: DevServer) -> None:
    with session_of(bao, Auth("token", token=Secret("s.ended"))) as session:
        assert keep_token(session, deadline()) == RETRY


def test_a_listener_with_auto_auth_looks_after_its_own(bao: DevServer) -> None:
    with session_of(bao, Auth("none")) as session:
        mark = bao.mark()
        assert keep_token(session, deadline()) == LATEST
        assert bao.requests_seen(mark) == []


def test_vault_away_is_no_error(bao: DevServer, tmp_path: Path) -> None:
    auth = approle(bao, tmp_path, token_ttl="1m")
    session = VaultSession(VaultSettings("http://127.0.0.1:1", auth), log_in, HOST_CLOCK)
    assert keep_token(session, Deadline.after(0.3)) == RETRY
