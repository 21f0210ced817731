"""`vault-ticket get` as agents call it: a plugin in a template, with 30 s to answer and an odd idea of arguments."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.e2e.site import CLIENT, Site
from tests.support import faults
from tests.support.cli import finish

# After which an agent kills its plugin.
KILLED_AFTER = 30.0


@contextmanager
def slow(address: str, delay: Callable[[], float]) -> Iterator[str]:
    """The same server, each answer so many seconds later; its address."""

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            over.wait(delay())
            back = HTTPConnection(urlsplit(address).netloc, timeout=30)
            back.request(self.command, self.path, body, dict(self.headers))
            answer = back.getresponse()
            text = answer.read()
            back.close()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = forward

        def log_message(self, *_: object) -> None:
            pass

    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hung up
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_token_and_a_line_end_and_not_a_word_on_standard_error(site: Site) -> None:
    site.store()
    for _ in range(2):  # the whole program, then the cache
        done = site.get("--format", "token")
        assert (done.code, done.err) == (0, "")
        assert done.out.count("\n") == 1
        assert site.api.access_alive(done.out.removesuffix("\n"))


def test_a_failure_leaves_standard_output_empty(site: Site) -> None:
    done = site.get("--format", "token")
    assert (done.code, done.out) == (66, "")
    assert done.err.startswith("vault-ticket: no grant is stored")


@pytest.mark.parametrize("extra", [["<nil>"], ["<no value>"], [""], ["  "], ["<nil>", "", "<no value>"]])
def test_empty_and_null_arguments_beside_the_profile_do_not_count(site: Site, extra: list[str]) -> None:
    site.store()
    plain = site.get("--format", "token")
    assert site.get("--format", "token", *extra) == plain
    assert site.helper.run("get", *extra, site.profile, "--format", "token") == plain


@pytest.mark.parametrize("null", ["<nil>", "<no value>"])
def test_a_null_in_the_profiles_place_prints_nothing_and_succeeds(site: Site, null: str) -> None:
    """An early pass of a template does not know the profile yet. An error would end that pass, and so all of them."""
    site.store()
    mark = site.bao.mark()
    done = site.helper.run("get", null, "--format", "token", env={"VAULT_TICKET_PROFILE": site.profile})
    assert (done.code, done.out, done.err) == (0, "", "")
    assert site.bao.requests_seen(mark) == []


def test_an_empty_argument_in_the_profiles_place_means_the_default_profile(site: Site) -> None:
    site.store()
    done = site.helper.run("get", "", "--format", "token", env={"VAULT_TICKET_PROFILE": site.profile})
    assert (done.code, done.out) == (0, site.get("--format", "token").out)


@pytest.mark.parametrize("command", ["store", "revoke"])
def test_only_get_takes_a_null_for_nothing(site: Site, command: str) -> None:
    assert site.operator.run(command, "<nil>", stdin="token\n").code == 2


@pytest.mark.parametrize("stored", [True, False])
def test_no_process_is_left_behind(site: Site, stored: bool) -> None:
    if stored:
        site.store()
    process = site.helper.start("get", site.profile, group=True)
    assert finish(process).code == (0 if stored else 66)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_calls_in_a_row_after_a_failure_reach_neither_server(site: Site) -> None:
    site.get()
    mark, before = site.bao.mark(), time.monotonic()
    codes = [site.get().code for _ in range(6)]
    took = time.monotonic() - before
    assert codes == [66] * 6
    # The cooldown begins with 0.5 to 1 s and doubles.
    grants = [one for one in site.bao.requests_seen(mark) if one.path.endswith("/grant")]
    assert len(grants) <= 1 + took / 0.5
    assert site.api.stats().requests == 0


def test_wait_goes_on_until_it_succeeds(site: Site) -> None:
    """Each try keeps to the cooldown, so that it costs no more requests than a caller who comes again."""
    mark = site.bao.mark()
    process = site.helper.start("get", site.profile, "--wait", "--timeout", "30s", "--format", "token")
    while not any(one.path.endswith("/grant") for one in site.bao.requests_seen(mark)):
        time.sleep(0.05)
    site.store()
    done = finish(process)
    assert (done.code, done.err) == (0, "")
    assert site.api.access_alive(done.out.strip())


def test_wait_fails_as_the_last_try_did(site: Site) -> None:
    mark = site.bao.mark()
    done = site.get("--wait", "--timeout", "4s")
    assert (done.code, done.out) == (66, "")
    assert 1 <= len([one for one in site.bao.requests_seen(mark) if one.path.endswith("/grant")]) <= 5


def test_through_a_listener_that_is_no_address(site: Site) -> None:
    done = site.get(env={"VAULT_TICKET_AGENT": "agent.sock"})
    assert done.code == 78
    assert "VAULT_TICKET_AGENT" in done.err


@pytest.mark.slow
def test_with_vault_and_the_api_slow_it_is_over_before_an_agent_kills_it(site: Site) -> None:
    """The worst there is: the spend begins late in a call, the API is silent, and Vault again when it is released."""
    site.put_grant({"refresh_token": site.api.issue_grant(CLIENT), "client_id": CLIENT})
    site.api.behaviour.next = [faults.late(60, processed=False)] * 3
    first = iter([19.3])

    def delay() -> float:
        return 20.0 if site.api.stats().requests else next(first, 0.0)

    with slow(site.bao.address, delay) as address:
        before = time.monotonic()
        done = site.get(env={"VAULT_ADDR": address})
        took = time.monotonic() - before
    assert done.code == 75, done.err
    assert site.api.stats().requests >= 1
    print(f"took {took:.1f} s")
    assert took < KILLED_AFTER
