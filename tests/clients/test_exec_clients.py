"""Programs that know nothing of us: started with the token, or handed it by a pipeline."""

from tests.clients.caller import REASON, REASON_CODE, Caller

SHOW = '#!/bin/sh\nprintf "%s\\n" "$API_TOKEN"\n'
SHOW_FILE = '#!/bin/sh\ncat "$BEARER_TOKEN_FILE"\n'
# Another host as ssh reaches it: the command runs there without our login.
SSH = '#!/bin/sh\nshift\nunset VAULT_TOKEN\nexec "$@"\n'


def program(caller: Caller, name: str, text: str) -> None:
    path = caller.host.home / name
    path.write_text(text)
    path.chmod(0o755)


def test_a_command_has_the_token_in_a_variable_or_in_a_file(caller: Caller) -> None:
    program(caller, "report", SHOW)
    program(caller, "sync-forever", SHOW_FILE)
    done = caller.sh(caller.snippet("exec"))
    assert (done.code, done.err) == (0, "")
    assert [caller.api.access_alive(token) for token in done.out.split()] == [True, True]
    caller.break_grant()
    failed = caller.sh(caller.snippet("exec"))
    assert (failed.code, failed.out) == (REASON_CODE, "")
    assert REASON in failed.err


def test_a_pipeline_hands_the_token_on(caller: Caller) -> None:
    program(caller, "ssh", SSH)
    path = f"{caller.host.home}:{caller.host.env()['PATH']}"
    done = caller.run("/bin/sh", "-c", caller.snippet("unwrap"), env={"PATH": path})
    assert (done.code, done.err) == (0, "")
    assert caller.api.access_alive(done.out.strip())
