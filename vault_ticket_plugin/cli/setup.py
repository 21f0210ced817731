"""`vault-ticket setup`: prepare a server."""

from __future__ import annotations

import os
import shutil

import click

from vault_ticket_plugin import environment, secret_file
from vault_ticket_plugin.cli import common
from vault_ticket_plugin.cli.colour import show
from vault_ticket_plugin.clock import Deadline
from vault_ticket_plugin.errors import ConfigError
from vault_ticket_plugin.settings.load import Settings
from vault_ticket_plugin.settings.vault import callers_token
from vault_ticket_plugin.vault import namespaces, setup_plan
from vault_ticket_plugin.vault.admin import Admin
from vault_ticket_plugin.vault.setup_plan import SetupTarget, Step
from vault_ticket_plugin.wiring import Wiring, wired

# How a step is shown, once it is done or as a plan.
DONE = {"keep": "there", "make": "made", "change": "changed", "leave": "differs"}
PLANNED = {"keep": "there", "make": "to make", "change": "to change", "leave": "differs"}


@click.command(short_help="Prepare a server: mount, policies, a login for the helper.")
@common.profile_argument
@click.option("--dry-run", is_flag=True, help="Show what would be done, and the commands for it; change nothing.")
@click.option("--replace", "replacing", is_flag=True, help="Change the policies and the role where they differ, too.")
@click.option("--role", default="ticket-helper", show_default=True, help="The helper's AppRole role.")
@click.option("--approle", help="Where AppRole logins are or will be enabled (default: approle).")
@click.option("--secret-id-ttl", type=common.Duration(), help="How long secret ids are good for (default: for ever).")
@click.option(
    "--secret-id-file",
    type=click.Path(dir_okay=False, resolve_path=True),
    help="Make a secret id for the helper and write it there, 0600.",
)
@click.option(
    "--accept-ignored-namespace",
    "ignored_ok",
    is_flag=True,
    help="Go on although the server ignores the configured namespace.",
)
@common.logging_options
def setup(
    profile: str,
    dry_run: bool,
    replacing: bool,
    role: str,
    approle: str | None,
    secret_id_ttl: float | None,
    secret_id_file: str | None,
    ignored_ok: bool,
) -> None:
    """Prepare a server for PROFILE, with an administrator's token in VAULT_TOKEN.

    It gets a KV mount, the three policies, AppRole logins and a role for the helper. What is there already is left as
    it is, so that this may run again; what differs is told and left, unless all that the role lacks is this profile's
    policy.

    \b
      vault-ticket setup support --dry-run
      vault-ticket setup support --secret-id-file /etc/vault-ticket/secret_id
    """
    settings, wanted_profile = common.load_profile(profile)
    if not environment.is_profile_name(role):
        raise click.UsageError("a role's name has letters, digits and ._-")

    configured = settings.vault.auth.mount if settings.vault.auth.method == "approle" else "approle"
    ttl = None if secret_id_ttl is None else int(secret_id_ttl)
    wanted = SetupTarget(wanted_profile, (approle or configured).strip("/"), role, ttl)
    program = "bao" if shutil.which("bao") and not shutil.which("vault") else "vault"

    with wired(_as_administrator(settings), os.environ) as wiring:
        if not ignored_ok:
            _refuse_ignored_namespace(settings, wiring)
        admin = wiring.admin(Deadline.after(settings.timeout))
        found = admin.look(wanted)

        steps = setup_plan.plan(wanted, found, replacing)
        for step in steps:
            if not dry_run and step.kind in ("make", "change") and step.action is not None:
                admin.do(step.action)
            show(_told(step, dry_run, program, wanted))

        differing = [step for step in steps if step.kind == "leave"]
        if not dry_run and not differing and secret_id_file:
            show(_hand_over(admin, wanted, secret_id_file))
        role_id = admin.role_id(wanted) if not dry_run or found.role is not None else None

    show(setup_plan.closing(settings.vault, wanted, program, role_id, secret_id_file))
    if differing:
        raise ConfigError(
            f"{len(differing)} of these differ from what is wanted, and were left as they are",
            "Run the commands above, or this one with --replace, once you know that nobody relies on them.",
        )


def _refuse_ignored_namespace(settings: Settings, wiring: Wiring) -> None:
    """What is meant for a namespace would be made in the root, where another team may rely on the same paths."""
    vault = settings.vault
    if vault.namespace and namespaces.are_ignored(wiring.session, Deadline.after(settings.timeout)):
        raise ConfigError(
            f"Vault at {vault.shown} ignores namespaces: what is meant for {vault.namespace} would be made in its root",
            "Take `namespace` (VAULT_NAMESPACE) out, and give the profile a mount or paths of its own; or run this "
            "with --accept-ignored-namespace.",
        )


def _as_administrator(settings: Settings) -> Settings:
    """With the token of whoever calls, whatever login is configured for the helper."""
    return settings._replace(vault=settings.vault._replace(auth=callers_token(os.environ)))


def _told(step: Step, dry_run: bool, program: str, wanted: SetupTarget) -> str:
    words = PLANNED if dry_run else DONE
    line = f"{words[step.kind]:<{max(map(len, words.values()))}}  {step.what}\n"
    if step.action is None or (step.kind != "leave" and not dry_run):
        return line
    return f"{line}    $ {setup_plan.command(step.action, program, wanted.profile)}\n"


def _hand_over(admin: Admin, wanted: SetupTarget, path: str) -> str:
    there = secret_file.read(path)
    if there is None:
        secret_file.write_new(path, lambda: admin.new_secret_id(wanted))
        return f"made     a secret id in {path}\n"
    if admin.knows_secret_id(wanted, there):
        return f"there    a secret id in {path}\n"
    raise ConfigError(
        f"{path} is there, and is no secret id of role {wanted.role} that still works",
        "It is left as it is: remove it, or name another file.",
    )
