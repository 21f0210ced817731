"""ansible-core: the pipe lookup in a play."""

import sys
from pathlib import Path

from tests.clients.caller import REASON_CODE, Caller
from tests.support.cli import Result

PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"


def play(caller: Caller, text: str | None = None) -> Result:
    book = caller.place("~/tickets.yml")
    if text is not None:
        book.write_text(text)
    config = caller.host.secret_file("ansible.cfg", "")  # instead of the machine's own
    env = {"ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_CONFIG": str(config), "ANSIBLE_NOCOLOR": "1"}
    return caller.run(PLAYBOOK, "-i", "localhost,", book, env=env)


def test_a_play_uses_the_token_and_after_its_death_the_next_one(caller: Caller) -> None:
    """Within one play: the lookup is evaluated at each use."""
    task = "  tasks:\n"
    head, _, read = caller.snippet("~/tickets.yml").partition(task)
    revoke = f"    - ansible.builtin.command: vault-ticket revoke {caller.site.profile}\n"
    done = play(caller, head + task + read + revoke + read)
    assert done.code == 0, done.out + done.err
    assert caller.api.stats().tickets_ok == 2
    assert caller.api.stats().refreshes == 2


def test_a_play_fails_where_we_do_and_tells_our_exit_code(caller: Caller) -> None:
    caller.break_grant()
    done = play(caller)
    assert done.code != 0
    assert f"returned {REASON_CODE}" in done.out + done.err
    assert caller.api.stats().tickets_denied == 0
