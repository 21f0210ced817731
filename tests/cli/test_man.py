"""docs/man/ is what the help texts say now, and man(1) shows it without a complaint."""

import re
import shutil
import subprocess

import pytest

from tests.support import man
from vault_ticket_plugin.cli.main import COMMANDS


def test_the_pages_are_those_of_the_help_texts() -> None:
    """`scripts/man` writes them anew."""
    assert {path.name: path.read_text() for path in man.FOLDER.iterdir()} == man.pages()


def shown(name: str) -> str:
    if shutil.which("man") is None:
        pytest.skip("no man on this machine")
    done = subprocess.run(
        ["man", "--warnings", "-l", str(man.FOLDER / name)],
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)


@pytest.mark.parametrize("name", man.pages())
def test_each_page_is_shown(name: str) -> None:
    text = shown(name)
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{heading}\n" in text, heading


def test_examples_options_and_dashes_stay_as_they_are_typed() -> None:
    text = shown("vault-ticket-exec.1")
    assert "\n         vault-ticket exec support --env API_TOKEN -- ./report\n" in text
    assert "vault-ticket exec [OPTIONS] [PROFILE] -- COMMAND..." in text
    assert re.search(r"^ +-h, --help", text, re.MULTILINE)
    assert re.search(r"^ +--env NAME$", text, re.MULTILINE)
    assert 'eval "$(vault-ticket get support --format env)"' in shown("vault-ticket-get.1")


def test_the_first_page_names_every_command() -> None:
    text = shown("vault-ticket.1")
    for name in COMMANDS:
        assert re.search(rf"^ +vault-ticket-{name}\(1\)$", text, re.MULTILINE), name
