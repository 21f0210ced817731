"""Completion in each shell, by the lines that docs/completion.md tells people to put into their files."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import COMMAND, Host
from vault_ticket_plugin.cli.main import COMMANDS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "completion.md").read_text()
SNIPPETS = dict(re.findall(r"^```(\w+) [^\n]*\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
PROFILES = ("support", "supplies", "billing")


@pytest.fixture
def person(host: Host) -> Host:
    """Somebody with profiles, the command in the PATH, and no Vault."""
    host.configure({"profiles": {name: {} for name in PROFILES}})
    host.environ = {"PATH": f"{COMMAND.parent}:/usr/bin:/bin"}
    return host


def shell(person: Host, name: str, script: str) -> list[str]:
    done = subprocess.run(
        [name, "-c", script], env=person.env(), cwd=person.home, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


def typed(person: Host, *words: str) -> list[str]:
    """What bash offers where the last of the words is being typed."""
    given = " ".join(f"'{word}'" for word in words)
    script = (
        f"{SNIPPETS['bash']}\nCOMP_WORDS=(vault-ticket {given})\nCOMP_CWORD={len(words)}\n"
        'words=($(complete -p vault-ticket))\nfunction=""\n'
        'for i in "${!words[@]}"; do [ "${words[i]}" = -F ] && function="${words[i+1]}"; done\n'
        'compopt() { echo "by $2"; }\n'
        f"$function vault-ticket '{words[-1]}' before\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    return [line for line in shell(person, "bash", script) if line]


def test_bash_completes_commands(person: Host) -> None:
    assert sorted(typed(person, "")) == sorted(COMMANDS)
    assert typed(person, "st") == ["status", "store"]


def test_bash_completes_configured_profiles(person: Host) -> None:
    assert typed(person, "get", "") == sorted(PROFILES)
    assert typed(person, "get", "su") == ["supplies", "support"]
    assert typed(person, "policy", "reader", "b") == ["billing"]
    assert typed(person, "get", "--format", "token", "bi") == ["billing"]


def test_bash_completes_options_and_their_values(person: Host) -> None:
    assert typed(person, "store", "--cl") == ["--client-id"]
    assert typed(person, "get", "--format", "ku") == ["kubernetes"]
    assert typed(person, "policy", "re") == ["refresher", "reader"]


def test_bash_completes_files_for_what_exec_runs(person: Host) -> None:
    assert typed(person, "exec", "suppo") == ["support"]
    assert "support" not in typed(person, "exec", "support", "--", "sup")
    assert "by default" in typed(person, "exec", "support", "--", "./re")


@pytest.mark.parametrize("config", ["[profiles.support]\ntypo = 1\n", "not TOML", None], ids=["key", "text", "none"])
def test_a_configuration_that_can_not_be_read_offers_nothing_and_says_nothing(person: Host, config: str | None) -> None:
    person.config_file.unlink()
    if config is not None:
        person.configure(config)
    assert typed(person, "get", "su") == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_shells_source_is_made(person: Host, name: str) -> None:
    done = person.run(env={"_VAULT_TICKET_COMPLETE": f"{name}_source"})
    assert (done.code, done.err) == (0, "")
    assert f"_VAULT_TICKET_COMPLETE={name}_complete" in done.out
    assert f"_VAULT_TICKET_COMPLETE={name}_source" in SNIPPETS[name]


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_each_shell_takes_its_lines(person: Host, name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name} on this machine")
    before = "autoload -Uz compinit; compinit -u; " if name == "zsh" else ""
    shell(person, name, before + SNIPPETS[name])


@pytest.mark.parametrize(
    ("name", "more", "offered"),
    [
        ("zsh", {"COMP_WORDS": "vault-ticket get su", "COMP_CWORD": "2"}, ["supplies", "support"]),
        ("fish", {"COMP_WORDS": "vault-ticket get su", "COMP_CWORD": "su"}, ["plain,supplies", "plain,support"]),
    ],
    ids=["zsh", "fish"],
)
def test_what_the_others_are_offered(person: Host, name: str, more: dict[str, str], offered: list[str]) -> None:
    """As the program answers the function that is loaded there."""
    done = person.run(env={"_VAULT_TICKET_COMPLETE": f"{name}_complete"} | more)
    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.split("\n") if line not in ("plain", "_", "")] == offered
