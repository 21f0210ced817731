"""README's first command does what it shows."""

import re
import subprocess
import sys


def test_the_demo_works_and_shows_no_whole_token() -> None:
    command = [sys.executable, "-m", "tests.support.demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("It works.\n")
    assert "the Ticket API saw 2 refreshes and 0 reuses" in done.stdout
    assert "permission denied" in done.stdout
    assert "program$ vault-ticket get support" in done.stdout
    assert not re.search(r"[\w-]{40}\.[\w-]{40}|\x1b", done.stdout)
