"""`vault-ticket`: ask the warm path first, else run the whole program."""

from __future__ import annotations

import os
import sys

from vault_ticket_plugin import core_dump, warm

# New objects between two runs of the garbage collector (700 by itself): imports make so many that it runs dozens of
# times, and finds nothing. A process that stays, as `daemon`, gets there often enough.
COLLECT_AFTER = 50_000
# errors.OutputLost.exit_code; that module is not imported on the warm path.
OUTPUT_LOST = 74


def main() -> int:
    """The exit code. What the warm path can answer is answered here."""
    core_dump.no_core_file()
    text = warm.cached_output(sys.argv[1:], os.environ)
    if text is not None:
        try:
            rest = text.encode()
            while rest:
                rest = rest[os.write(1, rest) :]
            return 0
        except OSError:
            if rest != text.encode():
                return OUTPUT_LOST  # half of it is out already
    import gc

    gc.set_threshold(COLLECT_AFTER)
    from vault_ticket_plugin.cli import run

    try:
        return run()
    finally:
        gc.freeze()  # nor does it look through all of it twice more as the interpreter ends
