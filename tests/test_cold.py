"""A cold `get`, whose ticket is on the leased path: what it may import, and what the garbage collector has to do."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Host
from vault_ticket_plugin.clock import HOST_CLOCK, to_rfc3339

# Runs the program, then tells what it has imported and how often the collector ran.
TELLING = """
import gc, json, sys
from vault_ticket_plugin.entry import main
def runs():
    return sum(one["collections"] for one in gc.get_stats())
before = runs()
code = main()
told = {"modules": sorted(sys.modules), "runs": runs() - before, "frozen": gc.get_freeze_count()}
print(json.dumps(told), file=sys.stderr)
sys.exit(code)
"""
OURS = {
    *("entry", "warm", "environment", "places", "password_database", "folder", "core_dump"),
    *("cli", "cli.main", "cli.common", "cli.terminal", "cli.get", "log", "errors", "secret", "durations", "clock"),
    *("settings", "settings.load", "settings.table", "settings.hosts"),
    *("settings.vault", "settings.profile", "settings.daemon", "model", "events"),
    *("formats", "formats.interface", "formats.json_document", "formats.token", "formats.header", "formats.env"),
    *("formats.curl", "formats.google", "formats.terraform"),
    *("wiring", "issuer", "host", "host.cache", "host.lock", "host.flight"),
    *("refresh", "refresh.carrier", "refresh.journal", "refresh.journal_entry", "refresh.journal_folders"),
    *("refresh.leased_path", "refresh.retry", "ports"),
    *(
        "vault",
        "vault.session",
        "vault.judgement",
        "vault.messages",
        "vault.kv",
        "vault.paths",
        "vault.logins",
        "vault.logins.token",
    ),
    *("vault.logins.credential", "transport", "transport.exchange", "transport.proxy"),
    *("transport.tls", "transport.watchdog"),
}
# One that is asked for by its name.
ONE_MORE = {"aws": {"formats.aws", "jwt"}, "kubernetes": {"formats.kubernetes"}}
LIBRARIES = {"click", "urllib3"}
# Each a noticeable part of a call, and of no use to one.
UNWANTED = {"requests", "hvac", "urllib.request", "http.cookiejar", "charset_normalizer", "idna", "asyncio"}


class Vault(BaseHTTPRequestHandler):
    """Has one ticket, on its leased path."""

    def do_GET(self) -> None:
        now = HOST_CLOCK.wall()
        data = {"access_token": "abc.def", "token_type": "Bearer"}
        data |= {"issued_at": to_rfc3339(now - 60), "expires_at": to_rfc3339(now + 3600)}
        body = json.dumps({"data": {"data": data, "metadata": {"version": 1}}}).encode()
        self.send_response(200 if self.path == "/v1/secret/data/ticket/support/token" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def vault() -> Iterator[dict[str, str]]:
    """The environment that leads there."""
    with HTTPServer(("127.0.0.1", 0), Vault) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {"VAULT_ADDR": f"http://127.0.0.1:{server.server_port}", "VAULT_TOKEN": "a token"}
        server.shutdown()
        thread.join()


def cold(host: Host, environ: dict[str, str], *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", TELLING, "get", "support", *options],
        env=host.env(environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "abc.def" in done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return told


@pytest.mark.parametrize("name", ["token", "aws", "kubernetes"])
def test_a_cold_get_imports_what_it_needs_and_no_more(tmp_path: Path, vault: dict[str, str], name: str) -> None:
    """No other format's module, nothing of the refresh, and neither requests nor hvac."""
    host = Host(tmp_path)
    host.configure({"profiles": {"support": {"client_id": "4711"}}})
    modules = set(cold(host, vault, "--format", name)["modules"])
    ours = {one.partition(".")[2] for one in modules if one.startswith("vault_ticket_plugin.")}
    assert ours == OURS | ONE_MORE.get(name, set())
    foreign = {one.partition(".")[0] for one in modules} - sys.stdlib_module_names - {"vault_ticket_plugin"}
    packages = {one for one in foreign if not one.startswith(("_", "sitecustomize"))}
    assert packages == LIBRARIES
    assert not UNWANTED & modules


def test_the_garbage_collector_has_next_to_nothing_to_do(tmp_path: Path, vault: dict[str, str]) -> None:
    """By itself it would run some dozens of times over what is being imported, and over all of it at the end."""
    told = cold(Host(tmp_path), vault)
    assert told["runs"] < 5
    assert told["frozen"] > 0
