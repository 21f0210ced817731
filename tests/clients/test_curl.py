"""curl, which is told the token on its standard input."""

import shutil

import pytest

from tests.clients.caller import REASON, REASON_CODE, Caller
from tests.clients.server import Guarded, Page
from tests.support.cli import Host
from tests.support.emulator import Emulator
from vault_ticket_plugin.formats import load
from vault_ticket_plugin.formats.interface import FormatContext
from vault_ticket_plugin.model import Ticket
from vault_ticket_plugin.secret import Secret
from vault_ticket_plugin.settings.profile import Profile

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")


def test_curl_sends_the_token_and_after_its_death_the_next_one(caller: Caller) -> None:
    for calls in (1, 2):
        done = caller.sh(caller.snippet("curl"))
        assert done.code == 0, done.err
        assert done.json()["tickets"]
        assert caller.api.stats().tickets_ok == calls
        caller.renew()
    assert caller.api.stats().refreshes == 2
    assert caller.api.stats().tickets_denied == 0


def test_curl_is_not_started_where_we_fail(caller: Caller) -> None:
    caller.break_grant()
    done = caller.sh(caller.snippet("curl"))
    assert (done.code, done.out) == (REASON_CODE, "")
    assert REASON in done.err
    assert caller.api.stats().tickets_denied == 0


@pytest.mark.parametrize("token", ['a"b', "a\\b", '"\\n', "a#b", 'x" url="http://127.0.0.1:1/', "%41$HOME`id`'"])
def test_curl_reads_back_exactly_the_token(emulator: Emulator, alone: Host, token: str) -> None:
    """Whatever a server may ever call a token, it stays one value of one option."""
    ticket, context = Ticket(Secret(token), "Bearer", 0.0, 1.0), FormatContext(Profile.standard("default"))
    config = load("curl").render(ticket, context) + "\n"
    with Guarded(emulator, lambda _: Page(b"{}", open=True)) as server:
        done = alone.run("--silent", "--config", "-", f"{server.url}/x", stdin=config, command="curl")
        assert (done.code, done.out, done.err) == (0, "{}", "")
        assert [(one.path, one.token) for one in server.seen] == [("/x", token)]
