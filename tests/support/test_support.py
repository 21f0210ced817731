"""The tests' own servers do what the other tests take for granted."""

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.support import faults
from tests.support.bao import DevServer, DiskServer, RaftCluster
from tests.support.cli import Host
from tests.support.emulator import Emulator
from tests.support.tls import loopback_certificate
from tests.support.toolkit import Toolkit


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def post(url: str, form: Mapping[str, str], timeout: float = 10, context: ssl.SSLContext | None = None) -> Answer:
    """One POST of a form that follows no redirect."""
    where = urlsplit(url)
    connection = (
        http.client.HTTPSConnection(where.netloc, timeout=timeout, context=context)
        if context
        else http.client.HTTPConnection(where.netloc, timeout=timeout)
    )
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", where.path, urlencode(form), headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()


def refresh(api: Emulator, token: str, client_id: str = "client-1", timeout: float = 10) -> Answer:
    return post(api.token_url, form_of(client_id, token), timeout)


def form_of(client_id: str, token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token, "client_id": client_id}


def tickets(url: str, access_token: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {access_token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        with e:
            return e.code


def test_a_refresh_rotates_and_the_access_token_works(emulator: Emulator) -> None:
    first = emulator.issue_grant()
    answer = refresh(emulator, first).json
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 3599
    assert answer["refresh_token"] != first
    assert tickets(emulator.tickets_url, answer["access_token"]) == 200
    assert tickets(emulator.tickets_url, "another") == 401
    assert emulator.refresh_current(answer["refresh_token"])
    stats = emulator.stats()
    assert (stats.requests, stats.refreshes, stats.successes) == (1, 1, 1)
    assert (stats.tickets_ok, stats.tickets_denied, stats.in_flight) == (1, 1, 0)


def test_without_rotation_the_token_stays(emulator: Emulator) -> None:
    emulator.behaviour.rotate = False
    token = emulator.issue_grant()
    assert refresh(emulator, token).json["refresh_token"] == token
    assert refresh(emulator, token).status == 200


def test_inside_the_grace_the_same_pair_comes_again(emulator: Emulator) -> None:
    emulator.behaviour.grace = 60
    token = emulator.issue_grant()
    pair = refresh(emulator, token).json
    assert refresh(emulator, token).json == pair
    refresh(emulator, pair["refresh_token"])
    assert refresh(emulator, token).json["error"] == "invalid_grant"  # two generations back
    assert emulator.stats().repeats == 1


def test_reuse_kills_the_family_and_its_access_tokens(emulator: Emulator) -> None:
    token = emulator.issue_grant()
    pair = refresh(emulator, token).json
    assert refresh(emulator, token).json["error"] == "invalid_grant"
    assert refresh(emulator, pair["refresh_token"]).status == 400
    assert tickets(emulator.tickets_url, pair["access_token"]) == 401
    stats = emulator.stats()
    assert (stats.reuses, stats.revoked_families, stats.rejected) == (1, 1, 2)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "client_id": "nobody"}, "invalid_client"),
    ],
)
def test_bad_requests_get_their_own_error(emulator: Emulator, form: dict[str, str], error: str) -> None:
    assert post(emulator.token_url, form).json["error"] == error


def test_revoking_the_refresh_token_ends_the_family(emulator: Emulator) -> None:
    pair = refresh(emulator, emulator.issue_grant()).json
    assert post(emulator.revoke_url, {"token": pair["refresh_token"]}).status == 200
    assert tickets(emulator.tickets_url, pair["access_token"]) == 401


def test_faults_come_once_and_in_order(emulator: Emulator) -> None:
    token = emulator.issue_grant()
    emulator.behaviour.next = [
        faults.busy(retry_after=7),
        faults.oauth("temporarily_unavailable", 503),
        faults.html(),
        faults.redirect("http://127.0.0.1:1/elsewhere"),
        faults.answer("access_token", processed=False, expires_in="soon"),
    ]
    busy, unavailable, page, elsewhere, odd = (refresh(emulator, token) for _ in range(5))
    assert (busy.status, busy.headers["Retry-After"]) == (429, "7")
    assert (unavailable.status, unavailable.json["error"]) == (503, "temporarily_unavailable")
    assert page.headers["Content-Type"] == "text/html"
    assert (elsewhere.status, elsewhere.headers["Location"]) == (307, "http://127.0.0.1:1/elsewhere")
    assert odd.json == {"token_type": "bearer", "expires_in": "soon"}
    assert refresh(emulator, token).status == 200
    assert emulator.stats().refreshes == 1


@pytest.mark.parametrize("processed", [True, False])
def test_a_reset_is_ambiguous(emulator: Emulator, processed: bool) -> None:
    token = emulator.issue_grant()
    emulator.behaviour.next = [faults.reset(processed=processed)]
    with pytest.raises(ConnectionResetError):
        refresh(emulator, token)
    assert emulator.refresh_current(token) is not processed


def test_a_cut_body_is_shorter_than_it_says(emulator: Emulator) -> None:
    emulator.behaviour.next = [faults.cut()]
    with pytest.raises(http.client.IncompleteRead):
        refresh(emulator, emulator.issue_grant())
    assert emulator.stats().refreshes == 1


@pytest.mark.parametrize("drip", [faults.drip_body(0.05), faults.drip_headers(0.05)])
def test_a_drip_outlasts_every_read_timeout(emulator: Emulator, drip: faults.Fault) -> None:
    emulator.behaviour.next = [drip]
    patience = threading.Timer(1.0, emulator.stop)
    patience.start()
    started = time.monotonic()
    with suppress(OSError, http.client.HTTPException):
        refresh(emulator, emulator.issue_grant(), timeout=0.5)
    assert time.monotonic() - started > 0.9
    patience.join()


def test_a_huge_answer_is_huge(emulator: Emulator) -> None:
    emulator.behaviour.next = [faults.huge()]
    assert len(refresh(emulator, emulator.issue_grant()).body) > 10_000_000


def test_hundreds_at_once_are_all_answered(emulator: Emulator) -> None:
    emulator.behaviour.rotate = False
    emulator.behaviour.delay = 0.3
    token, statuses = emulator.issue_grant(), list[int]()
    threads = [threading.Thread(target=lambda: statuses.append(refresh(emulator, token).status)) for _ in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 300
    assert emulator.stats().max_in_flight > 50


def test_a_stopped_emulator_refuses_and_comes_back_with_its_grants(emulator: Emulator) -> None:
    token = emulator.issue_grant()
    emulator.stop()
    with pytest.raises(ConnectionRefusedError):
        refresh(emulator, token)
    emulator.start()
    assert refresh(emulator, token).status == 200


def test_tls_is_verified_against_its_own_ca(tmp_path: Path) -> None:
    made = loopback_certificate(tmp_path)
    with Emulator(cert=made.cert, key=made.key) as api:
        trust = ssl.create_default_context(cafile=str(made.ca))
        form = form_of("client-1", api.issue_grant())
        assert post(api.token_url, form, context=trust).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            post(api.token_url, form, context=ssl.create_default_context())


def test_as_a_process_it_is_told_over_http() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.emulator"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            where = urlsplit(process.stdout.readline().strip())
            connection = http.client.HTTPConnection(where.netloc, timeout=10)
            wish = {"issue_grant": "c", "behaviour": {"rotate": False, "next": [{"kind": "status", "status": 503}]}}
            connection.request("POST", "/_control", json.dumps(wish))
            token = json.loads(connection.getresponse().read())["refresh_token"]
            url = f"{where.geturl()}/token"
            assert [post(url, form_of("c", token)).status for _ in range(2)] == [503, 200]
            connection.request("GET", "/_stats")
            assert json.loads(connection.getresponse().read())["refreshes"] == 1
            connection.close()
        finally:
            process.terminate()


def test_the_toolkit_rotates_with_a_grace_and_without() -> None:
    with Toolkit(grace=60) as server:
        pair = post(server.token_url, form_of(*server.grant()[1:])).json
        assert tickets(server.tickets_url, pair["access_token"]) == 200
        assert tickets(server.tickets_url, "another") == 403
        token = server.grant().refresh_token
        first, again = (post(server.token_url, form_of(server.client_id, token)).json for _ in range(2))
        assert first["refresh_token"] == again["refresh_token"] != token
    with Toolkit(reuse_protection=True) as server:
        form = form_of(server.client_id, server.grant().refresh_token)
        pair = post(server.token_url, form).json
        assert post(server.token_url, form).json["error"] == "invalid_grant"
        assert post(server.token_url, form_of(server.client_id, pair["refresh_token"])).status == 400


def test_bao_counts_what_a_policy_lets_through_and_what_not(bao: DevServer, kv: str) -> None:
    bao.write_policy(f"reader-{kv}", f'path "{kv}/data/x" {{ capabilities = ["read"] }}')
    bao.write(f"{kv}/data/x", {"data": {"a": 1}})
    token, mark = bao.token_for(f"reader-{kv}", ttl="5m"), bao.mark()
    assert bao.api("GET", f"{kv}/data/x", token=token)[1]["data"]["data"] == {"a": 1}
    assert bao.api("POST", f"{kv}/data/x", {"data": {}}, token=token)[0] == 403
    seen = [(one.operation, one.path, bool(one.error)) for one in bao.requests_seen(mark)]
    assert seen == [("read", f"{kv}/data/x", False), ("update", f"{kv}/data/x", True)]


def test_bao_logs_in_by_approle_and_seals(tmp_path: Path) -> None:
    with DevServer(tmp_path) as bao:
        role_id, secret_id = bao.enable_approle("helper", ["default"], token_ttl="1m")
        status, answer = bao.api("POST", "auth/approle/login", {"role_id": role_id, "secret_id": secret_id}, token="")
        assert status == 200
        assert bao.token_valid(answer["auth"]["client_token"])
        bao.seal()
        assert bao.api("GET", "secret/data/x")[0] == 503
        bao.unseal()
        assert bao.read("secret/data/x") is None


def test_bao_over_tls() -> None:
    with DevServer(tls=True) as bao:
        assert bao.env["VAULT_ADDR"].startswith("https://")
        assert bao.cli("token", "lookup").returncode == 0


def test_a_disk_server_keeps_its_data_and_its_port() -> None:
    with DiskServer() as bao:
        bao.enable_kv("secret")
        bao.write("secret/data/x", {"data": {"a": 1}})
        bao.kill()
        with pytest.raises(ConnectionRefusedError):
            bao.read("secret/data/x")
        bao.start()
        assert (bao.read("secret/data/x") or {})["data"] == {"a": 1}


@pytest.mark.slow
def test_three_nodes_lose_their_leader_and_go_on() -> None:
    with RaftCluster() as cluster:
        old = cluster.leader()
        assert len(cluster.standbys()) == 2
        assert cluster.kill_leader() is old
        new = cluster.leader()
        assert new is not old
        new.write("secret/data/x", {"data": {"a": 1}})
        cluster.restart(old)
        assert len(cluster.voters()) == 3


def test_a_host_has_nothing_of_ours_in_its_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "ours")
    shown = host.run("-c", "import os; print(*sorted(os.environ), os.environ['HOME'])", command=sys.executable)
    assert "VAULT_TOKEN" not in shown.out
    assert str(host.home) in shown.out
    written = host.configure({"vault": {"auth": {"method": "none"}, "address": "x"}, "profiles": {"a": {"b": 1}}})
    assert written.read_text() == '[vault]\nauth = { method = "none" }\naddress = "x"\n\n[profiles.a]\nb = 1\n'
