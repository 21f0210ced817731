"""The man pages, from the help texts: `scripts/man` writes docs/man/, and a test says when that is to be done again."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from vault_ticket_plugin import __version__
from vault_ticket_plugin.cli.main import COMMANDS, program

FOLDER = Path(__file__).parents[2] / "docs" / "man"
NAME = "vault-ticket"


def pages() -> dict[str, str]:
    """File names and their text."""
    top = click.Context(program, info_name=NAME, **program.context_settings)
    found = {f"{NAME}.1": page(NAME, top)}
    for name in COMMANDS:
        command = program.get_command(top, name)
        assert command is not None
        found[f"{NAME}-{name}.1"] = page(f"{NAME}-{name}", click.Context(command, info_name=name, parent=top))
    return found


def page(title: str, context: click.Context) -> str:
    return "".join(f"{line}\n" for line in _lines(title, context))


def _lines(title: str, context: click.Context) -> Iterator[str]:
    command = context.command
    short = command.get_short_help_str(200).rstrip(".")
    yield f'.TH {title.upper()} 1 "" "{NAME} {__version__}" "{NAME}"'
    yield ".SH NAME"
    yield f"{_text(title)} \\- {_text(short[0].lower() + short[1:])}"
    yield ".SH SYNOPSIS"
    yield f"\\fB{_text(context.command_path)}\\fR {_text(' '.join(command.collect_usage_pieces(context)))}"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for name in command.list_commands(context):
            one = command.get_command(context, name)
            assert one is not None
            yield from (".TP", f"\\fB{_text(f'{NAME}-{name}')}\\fR(1)", _text(one.get_short_help_str(200)))
    yield ".SH OPTIONS"
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if isinstance(param, click.Option) and record is not None:
            yield from (".TP", f"\\fB{_text(record[0])}\\fR", _text(record[1]))
    top = context.find_root()
    if top.command.epilog:
        yield ".SH EXIT STATUS"
        yield from _paragraphs(top.command.epilog.removeprefix("Exit codes: "))
    yield ".SH SEE ALSO"
    others = [name for name in (NAME, *(f"{NAME}-{one}" for one in COMMANDS)) if name != title]
    yield from (f'.BR {_text(name)} "(1){"" if name == others[-1] else ","}"' for name in others)


def _paragraphs(text: str) -> Iterator[str]:
    """`\\b` stands in front of one whose lines stay as they are."""
    for number, part in enumerate(re.split(r"\n\s*\n", inspect.cleandoc(text))):
        if number:
            yield ".PP"
        if part.startswith("\b"):
            yield from (".nf", *map(_text, part.split("\n")[1:]), ".fi")
        else:
            yield _text(" ".join(part.split()))


def _text(text: str) -> str:
    """As troff prints it, letter for letter; `code` is bold."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    safe = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", safe)
    return f"\\&{safe}" if safe.startswith(".") else safe


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = pages()
    for path in FOLDER.glob("*.1"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
