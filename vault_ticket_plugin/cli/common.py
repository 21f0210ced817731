"""What the commands have in common: options, the profile, the settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vault_ticket_plugin import environment, log
from vault_ticket_plugin.durations import parse_duration
from vault_ticket_plugin.errors import BY_SIGNAL, VaultTicketError
from vault_ticket_plugin.settings.load import Settings, load_settings
from vault_ticket_plugin.settings.profile import Profile

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

# For what needs the profiles alone: it works where no address is configured yet.
ANY_ADDRESS = {"VAULT_ADDR": "https://localhost:8200"}
# In a context's meta: what is typed now belongs to the command that `exec` runs.
FOR_ANOTHER_PROGRAM = f"{__name__}.for_another_program"
# How Go's templates write a value that is not there.
NULLS = ("<nil>", "<no value>")


class Duration(click.ParamType[float]):
    """`90`, `90s`, `20m`, `1h` as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r}: wanted {error}", param, ctx)


def logging_options(command: F) -> F:
    """-v and --log-format, before or after the command's name."""

    @click.option("-v", "--verbose", count=True, help="Say on standard error what is done; -vv says more.")
    @click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        help="How standard error is written: text for people (default), or a JSON object a line.",
    )
    @click.pass_context
    @wraps(command)
    def configured(ctx: click.Context, /, verbose: int, log_format: Any, **more: Any) -> Any:
        before: Mapping[str, Any] = ctx.obj or {}
        chosen = {
            "verbose": max(verbose, before.get("verbose", 0)),
            "log_format": log_format or before.get("log_format") or "text",
        }
        ctx.obj = chosen
        log.configure(chosen["verbose"], chosen["log_format"])
        return command(**more)

    return configured  # type: ignore[return-value]


def profile_argument(command: F) -> F:
    """PROFILE, once or not at all; an agent's template may add arguments that are empty, or null on an early pass.

    Both count as not there. But where a null is all there is, the template's own profile is not known yet: `get` then
    prints nothing and succeeds. Another profile's ticket would be wrong, and an error would end that pass, and with it
    the chance of a later one that knows.
    """
    return click.argument(
        "profile", nargs=-1, metavar="[PROFILE]", callback=_one_profile, shell_complete=_complete_profile
    )(command)


def _one_profile(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str:
    said = [one.strip() for one in value if one.strip()]
    given = [one for one in said if one not in NULLS]
    if said and not given:
        if ctx.info_name == "get":
            ctx.exit(0)
        given = said
    if len(given) > 1:
        raise click.UsageError(f"one profile at a time, not {len(given)}", ctx)

    name = environment.profile_name(os.environ, given[0] if given else None)
    if not environment.is_profile_name(name):
        raise click.BadParameter(
            "a profile's name has letters, digits and ._- (at most 64, no dot or dash in front)", ctx, param
        )
    return name


def _complete_profile(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The configured ones, whatever else may be wrong with the configuration's surroundings."""
    from click.shell_completion import CompletionItem

    if ctx.meta.get(FOR_ANOTHER_PROGRAM):
        return [CompletionItem(incomplete, type="file")]
    try:
        names = load_settings(ANY_ADDRESS | dict(os.environ)).profiles
    except VaultTicketError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def load() -> Settings:
    return load_settings(os.environ)


def load_profile(name: str) -> tuple[Settings, Profile]:
    settings = load()
    return settings, settings.profile(name)


def end_by(number: int) -> int:
    """End by that signal, so that whoever waits for us sees it. Where it does not end us, as PID 1: the exit code."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return BY_SIGNAL + number
