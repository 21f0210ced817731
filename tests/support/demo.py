"""The demo: `scripts/demo`. Every server in it is real but for the Ticket API, which is the tests' emulator.

Three people, each with an environment of their own: the operator stores the refresh token, the helper hands out
access tokens, the reader only ever sees the leased path. Shows no secret but a few letters of an access token.
"""

import argparse
import itertools
import re
import shlex
import signal
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.bao import DevServer
from tests.support.cli import COMMAND, Host, Result
from tests.support.emulator import Emulator
from tests.support.flavour import binary
from tests.support.process import Process, wait_until

ROOT = Path(__file__).parent.parent.parent
CLIENT_ID = "demo-client"
COLOUR = sys.stdout.isatty()


class DemoError(Exception):
    """A step did not end as it should."""


@dataclass
class Stage:
    """The servers, and the three people."""

    bao: DevServer
    api: Emulator
    operator: Host
    helper: Host
    reader: Host

    def people(self) -> dict[str, Host]:
        return {"operator": self.operator, "helper": self.helper, "reader": self.reader}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave it all running until Ctrl-C, to try more")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ExitStack() as stack:
            stage = build(stack)
            play(stage)
            if asked.keep:
                keep(stage)
    except DemoError as e:
        sys.exit(f"\nThe demo failed: {e}")
    except KeyboardInterrupt:
        print("\nEnded; nothing is left running.")
        sys.exit(130)


def build(stack: ExitStack) -> Stage:
    title("A real OpenBao server in memory, and an emulator of the Ticket API")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vault-ticket-demo-")))
    bao = stack.enter_context(DevServer(folder / "bao"))
    api = stack.enter_context(Emulator())
    say(f"Vault at {bao.address}, the Ticket API at {api.url}")

    title("Policies for the operator, the helper and the reader")
    for policy in ("ticket-operator", "ticket-refresher", "ticket-reader"):
        bao.write_policy(policy, (ROOT / "policies" / f"{policy}.hcl").read_text())
        say(f"policies/{policy}.hcl")

    title("An AppRole for the helper, a token each for the operator and the reader")
    stage = Stage(bao, api, *(Host(folder / name) for name in ("operator", "helper", "reader")))
    role_id, secret_id = bao.enable_approle("helper", ["ticket-refresher"], token_ttl="5m")
    profiles = {"support": {"client_id": CLIENT_ID, "token_url": api.token_url}}
    auth = {"method": "approle", "role_id": role_id, "secret_id_file": stage.helper.secret_file("secret_id", secret_id)}
    stage.helper.configure({"vault": {"address": bao.address, "auth": auth}, "profiles": profiles})
    stage.operator.configure({"vault": {"address": bao.address}, "profiles": profiles})
    stage.operator.environ["VAULT_TOKEN"] = bao.token_for("ticket-operator", ttl="1h")
    stage.reader.environ |= {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.token_for("ticket-reader", ttl="1h")}
    say("done; the helper's config.toml names the AppRole, the profile `support` and its token URL")
    return stage


def play(stage: Stage) -> None:
    title("Once: the operator stores the refresh token, which one refresh proves")
    vault_ticket(stage.operator, "operator", "store", "support", stdin=stage.api.issue_grant(CLIENT_ID))

    title("Any time: the helper prints an access token, here the one on the leased path")
    token = vault_ticket(stage.helper, "helper", "get", "support").json()["AccessToken"]

    title("The Ticket API takes it")
    request = urllib.request.Request(stage.api.tickets_url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        say(f"GET {stage.api.tickets_url} → {answer.status} {answer.read().decode()}")

    title("Again: from this host's cache, without a word to Vault")
    mark, started = stage.bao.mark(), time.monotonic()
    again = vault_ticket(stage.helper, "helper", "get", "support", "--format", "token").out.strip()
    say(f"{1000 * (time.monotonic() - started):.0f} ms, {len(stage.bao.requests_seen(mark))} requests at Vault")
    expect(again == token, "the second token is the first one")

    title("When it runs out the helper spends the refresh token and keeps the new one (forced here)")
    newer = vault_ticket(stage.helper, "helper", "get", "support", "--force").json()["AccessToken"]
    expect(newer != token, "--force brought another token")
    stats = stage.api.stats()
    say(f"the Ticket API saw {stats.refreshes} refreshes and {stats.reuses} reuses of a rotated token")

    title("The reader finds the token on the leased path, which expires with it")
    shown = bao_command(stage, "kv", "get", "-mount=secret", "ticket/support/token")
    expect(shown.code == 0 and newer in shown.out, "the reader reads the newest token")

    title("The reader is denied the grant, where the refresh token is")
    denied = bao_command(stage, "kv", "get", "-mount=secret", "ticket/support/grant")
    expect(denied.code != 0 and "permission denied" in denied.err, "the reader is denied the grant")

    title("A program on the helper's host needs no login to Vault: it asks the helper's daemon")
    with ask_the_daemon(stage) as program:
        token = vault_ticket(program, "program", "get", "support", "--format", "token").out.strip()
        expect(token == newer, "the daemon hands out the newest token")
    print(f"\n{bold('It works.')}", flush=True)


@contextmanager
def ask_the_daemon(stage: Stage) -> Iterator[Host]:
    """A host whose configuration is one line, while the helper's daemon runs."""
    place = stage.helper.folder / "socket"
    listening = stage.helper.config_file.read_text() + f'\n[daemon]\nlisten = "unix:{place}"\n'
    stage.helper.configure(listening)
    program = Host(stage.helper.folder.parent / "program")
    program.configure(f'socket = "unix:{place}"\n')
    say(bold("helper$ vault-ticket daemon &"))
    log = stage.helper.folder / "daemon.log"
    daemon = Process([COMMAND, "daemon"], log=log, env=stage.helper.env(), cwd=stage.helper.home)
    try:
        wait_until(lambda: not daemon.alive or place.exists(), "the daemon")
        yield program
    finally:
        daemon.stop()
        for line in log.read_text().splitlines():
            say(line.replace(str(stage.helper.folder), "…"), "  │ ")


def vault_ticket(host: Host, who: str, *args: str, stdin: str | None = None) -> Result:
    """Runs the command as one of the three, shows it and what it printed."""
    say(bold(f"{who}$ vault-ticket {' '.join(args)}") + (" < refresh-token" if stdin else ""))
    return shown(host.run(*args, stdin=stdin), must_work=True)


def bao_command(stage: Stage, *args: str) -> Result:
    say(bold(f"reader$ bao {' '.join(args)}"))
    return shown(stage.reader.run(*args, command=binary()))


def shown(result: Result, *, must_work: bool = False) -> Result:
    for line in (result.out + result.err).splitlines():
        if line.strip():
            say(shorten(line), "  │ ")
    if must_work and result.code:
        raise DemoError(f"exit code {result.code}")
    return result


def keep(stage: Stage) -> None:
    title("Left running. In another terminal, be one of the three and try more")
    for who, host in stage.people().items():
        path = f"{ROOT / '.venv/bin'}:{host.env()['PATH']}"
        settings = host.env() | {"PATH": path}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
        host.secret_file("env", "\n".join([*lines, ""]))
        commands = {
            "operator": "vault-ticket store support",
            "helper": "vault-ticket status; vault-ticket get support --format json",
            "reader": "bao kv get -mount=secret -field=access_token ticket/support/token",
        }
        say(f"( . {host.folder}/env; {commands[who]} )")
    wish = shlex.quote(f'{{"issue_grant": "{CLIENT_ID}"}}')
    say(f"A refresh token to store: curl --data {wish} {stage.api.url}/_control")
    say("Ctrl-C here ends it all.")
    with suppress(KeyboardInterrupt):
        signal.pause()
    print("\nEnded; nothing is left running.")


def shorten(text: str) -> str:
    """The text with only the first and last letters of each access token: they are JWTs."""
    return re.sub(r"(ey[\w-]{6})[\w-]+\.[\w-]+\.[\w-]+([\w-]{6})", r"\1…\2", text)


def expect(true: bool, what: str) -> None:
    if not true:
        raise DemoError(f"expected that {what}")


_steps = itertools.count(1)


def title(text: str) -> None:
    print(f"\n{bold(f'{next(_steps)}. {text}')}", flush=True)


def say(text: str, indent: str = "   ") -> None:
    print(textwrap.indent(text, indent), flush=True)


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if COLOUR else text


if __name__ == "__main__":
    main()
