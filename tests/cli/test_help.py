"""README and docs speak of the commands, options and exit codes that there are, and the help texts of the same."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from vault_ticket_plugin import errors
from vault_ticket_plugin.cli.main import COMMANDS, EPILOG, program
from vault_ticket_plugin.errors import COMMAND_NOT_EXECUTABLE, COMMAND_NOT_FOUND, VaultTicketError
from vault_ticket_plugin.formats import FORMATS
from vault_ticket_plugin.settings.load import load_settings
from vault_ticket_plugin.settings.table import Table
from vault_ticket_plugin.settings.vault import AUTH_METHODS, AUTH_REQUIRED

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TEXTS = {path.name: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
# The table of commands: each row's usage, and what it says.
ROWS = dict(re.findall(r"^\| `vault-ticket ([^`]+)` \| (.*) \|$", README, re.MULTILINE))
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Options of every command, and click's own.
COMMON = {"--verbose", "--log-format", "--help", "--version"}
ERRORS = (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VaultTicketError))
CODES = {kind.exit_code for kind in ERRORS}
ALL_CODES = CODES | {click.UsageError.exit_code, COMMAND_NOT_EXECUTABLE, COMMAND_NOT_FOUND}


def command(name: str) -> click.Command:
    found = program.get_command(click.Context(program), name)
    assert found is not None, name
    return found


def options(name: str) -> set[str]:
    return {option for param in command(name).params for option in (*param.opts, *param.secondary_opts)} | {"--help"}


def invocations(text: str) -> Iterator[tuple[str, list[str]]]:
    """(command, options) of each `vault-ticket …` on a line of code, up to what another program gets."""
    for line in text.replace("\\\n", " ").splitlines():
        bare = re.sub(r"\"[^\"$]*\"|'[^']*'", "_", line)
        for name, rest in re.findall(r"vault-ticket ([a-z][a-z-]+)\b([^|`)#;&]*)", bare):
            if name in COMMANDS:
                yield name, OPTION.findall(re.split(r" -- ", rest)[0])


def test_the_table_of_commands_has_each_of_them_once() -> None:
    assert sorted(usage.split()[0] for usage in ROWS) == sorted(COMMANDS)


def test_the_programs_help_lists_each_command_with_what_it_does() -> None:
    text = program.get_help(click.Context(program, terminal_width=100))
    for name in COMMANDS:
        assert re.search(rf"^  {name}  +[A-Z].*\.$", text, re.MULTILINE), name


@pytest.mark.parametrize("usage", ROWS)
def test_a_rows_options_are_the_commands(usage: str) -> None:
    name = usage.split()[0]
    said = ROWS[usage].replace("`get --wrap`", "")  # another command's
    assert set(OPTION.findall(said)) <= options(name)


@pytest.mark.parametrize("usage", ROWS)
def test_a_rows_arguments_are_the_commands(usage: str) -> None:
    """PROFILE in brackets where it can be left out, and what must be there after it."""
    name, *words = usage.split()
    pieces = [piece for piece in command(name).collect_usage_pieces(click.Context(program)) if piece != "[OPTIONS]"]
    assert [word.replace("…", "...") for word in words] == [
        {"refresher|reader|operator": "ROLE"}.get(piece, re.sub(r"^\{.*\}$", "VERB", piece)) for piece in pieces
    ]


def test_the_row_of_get_names_every_format() -> None:
    (said,) = (text for usage, text in ROWS.items() if usage.startswith("get "))
    assert set(re.findall(r"`(?:--format )?([a-z-]+)`", said.partition(";")[0])) == set(FORMATS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name: str) -> None:
    for param in command(name).params:
        if isinstance(param, click.Option) and param.name not in ("chosen",):
            assert param.help, param
            assert param.help.endswith((".", ")")), param


@pytest.mark.parametrize("name", TEXTS)
def test_every_invocation_in_the_docs_is_one_that_is_understood(name: str) -> None:
    unknown = {(one, option) for one, used in invocations(TEXTS[name]) for option in used if option not in options(one)}
    assert unknown == set()


def test_the_help_texts_own_examples_are_understood() -> None:
    for name in COMMANDS:
        for one, used in invocations(command(name).help or ""):
            assert set(used) <= options(one), (name, one)


def test_every_command_takes_the_common_options() -> None:
    for name in COMMANDS:
        assert options(name) | {"--version"} >= COMMON, name


def test_the_exit_codes_in_readme_are_those_of_the_errors() -> None:
    table = README.partition("## Exit codes")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([\d /]+) \|", table, re.MULTILINE)
    assert {int(code) for cell in cells for code in cell.split(" / ")} == ALL_CODES | {0}


def test_the_exit_codes_in_the_help_are_those_of_the_errors() -> None:
    assert set(map(int, re.findall(r"\b\d{1,3}\b", EPILOG))) == ALL_CODES


def configuration() -> str:
    return README.partition("## Configuration")[2].partition("\n## ")[0]


def test_the_configuration_in_readme_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", configuration(), re.DOTALL)
    path = tmp_path / "config.toml"
    path.write_text(example)
    found = load_settings({"VAULT_TICKET_CONFIG": str(path), "HOME": str(tmp_path)})
    assert found.socket == found.daemon.listen[0].path


def test_readme_names_every_key_of_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys: set[str] = set()
    reject_unknown_keys = Table.reject_unknown_keys

    def note(table: Table) -> None:
        keys.update(table._read)
        reject_unknown_keys(table)

    monkeypatch.setattr(Table, "reject_unknown_keys", note)
    path = tmp_path / "config.toml"
    for method in AUTH_METHODS:
        needed = dict.fromkeys(AUTH_REQUIRED.get(method, ()), "x") | {"method": method}
        auth = ", ".join(f'{name} = "{value}"' for name, value in needed.items())
        path.write_text(f'[vault]\naddress = "https://x"\nclient_cert = "x"\nauth = {{ {auth} }}\n[profiles.p]\n')
        load_settings({"VAULT_TICKET_CONFIG": str(path), "HOME": str(tmp_path)})
    assert {"socket", "allow", "users", "listen", "role_id", "hosts", "hook_timeout"} <= keys
    words = set(re.findall(r"\w+", configuration()))
    assert keys - words == set()
