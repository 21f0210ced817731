"""A binary for VAULT_TICKET_TEST_SERVER that calls itself Vault and is a `bao` in HashiCorp's words.

    VAULT_TICKET_TEST_SERVER=$PWD/tests/support/worded-vault scripts/test

runs the suite as it runs on HashiCorp's own program, as far as hashicorp_words.py goes: no audit device in the
configuration, no namespaces, other texts. Its `agent`, `proxy` and commands are bao's, and
clients' certificates do not reach it. Nothing here says what HashiCorp's own program would do.
"""

import os
import re
import signal
import sys
import time
from pathlib import Path

from tests.support.bao import Server
from tests.support.flavour import AUDIT, CHOICE, binary
from tests.support.hashicorp import Hashicorp
from tests.support.hashicorp_words import VERSION
from tests.support.process import Process, wait_until

_LISTENS = re.compile(r'(-dev-listen-address=|^listener "tcp" \{\s*address = ")127\.0\.0\.1:(\d+)', re.MULTILINE)


def main(args: list[str]) -> int:
    os.environ.pop(CHOICE, None)  # or we would be our own bao
    if args[:1] == ["version"]:
        print(f"Vault v{VERSION} (OpenBao in HashiCorp's words)")
        return 0
    if args[:1] != ["server"]:
        os.execv(binary(), [str(binary()), *args])
    config = next(Path(one.partition("=")[2]) for one in args if one.startswith("-config="))
    text = config.read_text()
    behind = Server(config.parent, scheme="https" if "-dev-tls" in args else "http")
    if behind.scheme == "https":
        behind.ca_file = config.parent / "vault-ca.pem"
    port = int(next(found for one in [*args, text] for _, found in _LISTENS.findall(one)))
    rewritten = config.with_name("behind.hcl")
    rewritten.write_text(moved(text, behind.port).replace("disable_mlock = true\n", "") + AUDIT)
    given = [f"-config={rewritten}" if one.startswith("-config=") else moved(one, behind.port) for one in args]
    return serve(behind, port, given)


def moved(text: str, port: int) -> str:
    """Where the server listens, on another port."""
    return _LISTENS.sub(rf"\g<1>127.0.0.1:{port}", text)


def serve(behind: Server, port: int, args: list[str]) -> int:
    """bao, with the proxy at the port that clients know; ends with it, and takes it along."""
    env = dict(os.environ)
    bao = Process([binary(), *args], log=Path("/dev/stdout"), env=env, cwd=Path.cwd())
    signal.signal(signal.SIGTERM, lambda *_: bao.stop())
    front = Hashicorp(behind)
    front.port = port
    if front.scheme == "https":  # it answers with the certificate that bao makes at its start
        wait_until(lambda: not bao.alive or bool(behind.health()), "bao's certificate")
    with front:
        while bao.alive:
            time.sleep(0.05)
    return bao.code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
