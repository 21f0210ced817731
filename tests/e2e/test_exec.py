"""`vault-ticket exec`: the command finds a valid token, and for all else it is as if we were not there."""

import fcntl
import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import Site
from tests.support import faults
from tests.support.cli import COMMAND, Host, Result, finish
from tests.support.process import wait_until

BOTH = pytest.mark.parametrize("how", [[], ["--file"]], ids=["variable", "file"])
PYTHON = (sys.executable, "-I", "-S", "-c")
# Says what it can see of itself.
TELL = """
import json, os, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
limit = [line.split()[4:6] for line in open("/proc/self/limits") if line.startswith("Max core file size")]
told = {"arguments": sys.argv[1:], "environ": dict(os.environ), "stdin": sys.stdin.read(), "core": limit,
        "blocked": status["SigBlk"].strip(), "files": sorted(os.listdir("/proc/self/fd")), "cwd": os.getcwd()}
for name in ("BEARER_TOKEN_FILE", "TOKEN_FILE"):
    if name in os.environ:
        path = os.environ[name]
        told["file"] = [path, open(path).read(), os.stat(path).st_mode, os.stat(os.path.dirname(path)).st_mode]
print(json.dumps(told))
"""
# Waits for signals, tells each, and ends with USR2.
LISTEN = """
import os, signal, sys
names = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "TSTP"]
numbers = [getattr(signal, "SIG" + name) for name in names]
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", os.getpid(), os.getppid(), flush=True)
while True:
    came = signal.Signals(signal.sigwaitinfo(numbers).si_signo)
    print(came.name, flush=True)
    if came == signal.SIGUSR2:
        sys.exit(3)
"""
# At a terminal it lets itself be stopped.
LISTEN_TO_KEYS = LISTEN.replace(', "TSTP"', "")


@pytest.fixture
def ready(site: Site) -> Site:
    """A site with a grant and a published ticket."""
    site.store()
    return site


def run(site: Site, *args: str, host: Host | None = None, **how: Any) -> Result:
    """`exec` with what stands before the command in `args`, too."""
    return (host or site.helper).run("exec", site.profile, *args, **how)


def tell(site: Site, *options: str, **how: Any) -> dict[str, Any]:
    done = run(site, *options, "--", *PYTHON, TELL, **how)
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = done.json()
    return found


def files(host: Host) -> list[Path]:
    return list((host.runtime / "vault-ticket").glob("*.bearer"))


def start(site: Site, *args: str, **how: Any) -> "subprocess.Popen[str]":
    return site.helper.start("exec", site.profile, *args, **how)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0], "no line came"
    return process.stdout.readline().strip()


# -- a variable


@pytest.mark.parametrize(
    ("options", "name"), [([], "TICKET_ACCESS_TOKEN"), (["--env", "API_TOKEN"], "API_TOKEN")], ids=["default", "named"]
)
def test_a_variable_of_the_command_has_the_token(ready: Site, options: list[str], name: str) -> None:
    environ = tell(ready, *options)["environ"]
    assert ready.api.access_alive(environ.pop(name))
    assert environ == ready.helper.env()  # and nothing else is there, or missing


def test_without_a_profile_it_is_the_default_one(ready: Site) -> None:
    done = ready.helper.run(
        "exec", "--", *PYTHON, TELL, env={"VAULT_TICKET_PROFILE": ready.profile}
    )  # no argument of ours
    assert ready.api.access_alive(done.json()["environ"]["TICKET_ACCESS_TOKEN"])


def test_a_token_that_lasts_long_enough_can_be_asked_for(site: Site) -> None:
    """A variable keeps its value, so a command says how long it will need it."""
    site.store(None, "--no-verify")
    site.put_ticket(left=1500, token="an-older-ticket")
    assert tell(site)["environ"]["TICKET_ACCESS_TOKEN"] == "an-older-ticket"
    assert site.api.access_alive(tell(site, "--min-ttl", "30m")["environ"]["TICKET_ACCESS_TOKEN"])


# -- a file


@pytest.mark.parametrize(
    ("options", "name"), [([], "BEARER_TOKEN_FILE"), (["--env", "TOKEN_FILE"], "TOKEN_FILE")], ids=["default", "named"]
)
def test_a_file_of_its_owner_alone_has_the_token_while_the_command_runs(
    ready: Site, options: list[str], name: str
) -> None:
    told = tell(ready, "--file", *options)
    path, token, mode, folder = told["file"]
    assert path == told["environ"][name]
    assert ready.api.access_alive(token)
    assert (stat.S_IMODE(mode), stat.S_IMODE(folder)) == (0o600, 0o700)
    assert told["environ"] == ready.helper.env({name: path})
    assert not files(ready.helper)


def test_a_token_in_the_environment_does_not_hide_the_file(ready: Site) -> None:
    """Bearer token discovery looks at BEARER_TOKEN first."""
    assert "BEARER_TOKEN" not in tell(ready, "--file", env={"BEARER_TOKEN": "old"})["environ"]
    assert tell(ready, "--file", "--env", "TOKEN_FILE", env={"BEARER_TOKEN": "own"})["environ"]["BEARER_TOKEN"] == "own"


def test_the_file_always_holds_a_valid_token(ready: Site) -> None:
    """Across two renewals, by whoever reads it all the time; it is never found half written or missing."""
    ready.api.behaviour.lifetime = 6
    ready.get("--force", "--no-cache")
    ready.helper.run("get", ready.profile, "--force")
    read_on = "import os\nseen = []\nwhile len(seen) < 3:\n token = open(os.environ['BEARER_TOKEN_FILE']).read()\n"
    read_on += " if token not in seen:\n  seen.append(token); print(token, flush=True)\n"
    process = start(ready, "--file", "--", *PYTHON, read_on)
    for _ in range(3):
        token = line(process)
        assert ready.api.access_alive(token)
    done = finish(process)
    assert (done.code, done.err) == (0, "")
    assert not files(ready.helper)


def test_where_no_renewal_succeeds_the_file_keeps_its_token_and_one_is_told(ready: Site) -> None:
    """And the first that does brings the next."""
    ready.api.behaviour.lifetime = 6
    ready.helper.run("get", ready.profile, "--force")
    ready.api.behaviour.next = [faults.html()]
    read_on = "import os\npath = os.environ['BEARER_TOKEN_FILE']\nold = new = open(path).read()\n"
    read_on += "while new == old: new = open(path).read()\nprint(new)\n"
    done = run(ready, "--file", "--", *PYTHON, read_on)
    assert done.code == 0
    assert ready.api.access_alive(done.out.strip())
    assert "this ticket is good until" in done.err
    assert not ready.api.behaviour.next


def test_a_folder_that_others_can_open_takes_no_file(ready: Site) -> None:
    (ready.helper.runtime / "vault-ticket").mkdir(exist_ok=True)
    (ready.helper.runtime / "vault-ticket").chmod(0o755)
    done = run(ready, "--file", "--", "true")
    assert done.code == 78
    assert "there is no folder for the token's file" in done.err


def test_what_a_killed_run_left_is_removed_a_week_later(ready: Site) -> None:
    ready.get()
    folder = ready.helper.runtime / "vault-ticket"
    for name, age in (("p-old.bearer", 8 * 86400), ("p-new.bearer", 6 * 86400)):
        (folder / name).touch(mode=0o600)
        now = (folder / name).stat().st_mtime
        os.utime(folder / name, (now - age, now - age))
    tell(ready, "--file")
    assert [path.name for path in files(ready.helper)] == ["p-new.bearer"]


# -- as if we were not there


@BOTH
def test_streams_arguments_and_limits_are_the_commands_own(ready: Site, how: list[str]) -> None:
    """Compared with the same command without us."""
    arguments = ["-v", "--help", "--", "", "a b", "$HOME", "*", "--env", "'"]
    command = [*PYTHON, TELL, *arguments]
    direct = subprocess.run(
        command, input="a line\n", env=ready.helper.env(), cwd=ready.helper.home, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    through = run(ready, *how, "--", *command, stdin="a line\n")
    assert (through.code, through.err) == (0, "")
    for key, value in json.loads(direct.stdout).items():
        if key != "environ":
            assert through.json()[key] == value, key
    assert through.json()["arguments"] == arguments


@BOTH
def test_signals_that_python_ignores_are_not_ignored_in_the_command(ready: Site, how: list[str]) -> None:
    """`yes | head` must end: by SIGPIPE."""
    command = ["/bin/sh", "-c", 'grep -h SigIgn /proc/self/status; (yes; echo "$?" >&2) | head -n 1']
    direct = subprocess.run(command, env=ready.helper.env(), capture_output=True, text=True, check=True, timeout=60)
    done = run(ready, *how, "--", *command)
    ignored = int(done.out.split()[1], 16)
    ours = int(direct.stdout.split()[1], 16)
    pipe = 1 << signal.SIGPIPE - 1
    of_the_c_library = 1 << 32 - 1 | 1 << 33 - 1  # glibc's posix_spawn leaves its own two ignored
    assert ignored & pipe == 0
    assert ignored & ~of_the_c_library | pipe == ours | pipe
    assert done.err.strip() == "141"


@BOTH
@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_exit_code_is_the_commands(ready: Site, how: list[str], code: int) -> None:
    assert run(ready, *how, "--", "/bin/sh", "-c", f"exit {code}").code == code
    assert not files(ready.helper)


@BOTH
@pytest.mark.parametrize("name", ["TERM", "KILL", "USR1", "SEGV"])
def test_a_command_that_a_signal_ends_ends_us_by_the_same(ready: Site, how: list[str], name: str) -> None:
    done = run(ready, *how, "--", "/bin/sh", "-c", f"kill -{name} $$")
    assert done.code == -getattr(signal, f"SIG{name}")
    assert not files(ready.helper)


@BOTH
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("no-such-command", 127, "no-such-command is not there"),
        ("./no/such/path", 127, "./no/such/path is not there"),
        ("/etc/passwd", 126, "/etc/passwd can't be run (permission denied)"),
        ("/", 126, "/ can't be run (permission denied)"),
        ("./no-program", 126, "./no-program can't be run (exec format error)"),
    ],
)
def test_what_can_not_be_run_is_told_as_a_shell_tells_it(
    ready: Site, how: list[str], command: str, code: int, said: str
) -> None:
    program = ready.helper.home / "no-program"
    program.write_text("no shebang\n")
    program.chmod(0o755)
    done = run(ready, *how, "--", command)
    assert (done.code, done.out) == (code, "")
    assert f"vault-ticket: {said}\n" in done.err
    assert not files(ready.helper)


@BOTH
def test_without_a_token_the_command_is_not_run(site: Site, how: list[str]) -> None:
    done = run(site, *how, "--", "/bin/sh", "-c", "touch ran")
    assert done.code == 66
    assert not (site.helper.home / "ran").exists()


@pytest.mark.parametrize("args", [["true"], [], ["--"], ["--", ""], ["--env", "A=B", "--", "true"]], ids=str)
def test_usage_errors_ask_nobody(site: Site, args: list[str]) -> None:
    """A command without `--` in front could be taken for a profile."""
    mark = site.bao.mark()
    done = run(site, *args)
    assert done.code == 2
    assert not site.bao.requests_seen(since=mark)


@BOTH
def test_our_login_is_given_back_before_the_command_is_run(ready: Site, how: list[str]) -> None:
    role_id, secret_id = ready.bao.enable_approle(f"x-{ready.profile}", ["ticket-refresher"], token_ttl="10m")
    ready.helper.environ.pop("VAULT_TOKEN")
    file = ready.helper.secret_file("secret-id", secret_id)
    auth = {"method": "approle", "role_id": role_id, "secret_id_file": str(file)}
    ready.configure(ready.helper, vault={"auth": auth})
    mark = ready.bao.mark()
    process = start(ready, *how, "--", *PYTHON, LISTEN)
    assert line(process).startswith("ready")
    paths = [one.path for one in ready.bao.requests_seen(since=mark)]
    process.send_signal(signal.SIGUSR2)
    assert finish(process).code == 3
    assert paths.count("auth/token/revoke-self") == 1


# -- signals, with the file: without it we are the command


def test_signals_are_passed_on(ready: Site) -> None:
    process = start(ready, "--file", "--", *PYTHON, LISTEN)
    assert line(process).startswith("ready")
    for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "WINCH", "TSTP"):
        process.send_signal(getattr(signal, f"SIG{name}"))
        assert line(process) == f"SIG{name}"
    process.send_signal(signal.SIGUSR2)
    assert line(process) == "SIGUSR2"
    assert finish(process).code == 3
    assert not files(ready.helper)


def test_a_signal_while_a_renewal_hangs_is_passed_on_at_once(ready: Site) -> None:
    """The renewal is seen to its end all the same: what it brings is saved before we end."""
    ready.api.behaviour.lifetime = 6
    ready.helper.run("get", ready.profile, "--force")
    ready.api.behaviour.next = [faults.late(4)]
    before = ready.api.stats().requests
    process = start(ready, "--file", "--", *PYTHON, LISTEN)
    assert line(process).startswith("ready")
    wait_until(lambda: ready.api.stats().in_flight == 1, "the renewal")
    process.send_signal(signal.SIGUSR2)
    assert line(process) == "SIGUSR2"
    assert ready.api.stats().in_flight == 1, "not at once"
    assert finish(process).code == 3
    assert ready.api.stats().requests == before + 1
    assert ready.api.refresh_current(ready.refresh_token())
    assert not files(ready.helper)


@pytest.fixture
def terminal(ready: Site) -> Iterator[int]:
    """A shell with job control at a terminal; what its keyboard is connected to. It runs `exec --file` twice seen."""
    ours, theirs = pty.openpty()
    script = 'set -m; "$0" "$@"; echo "shell: $?"; fg >/dev/null; echo "shell: $?"'
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, COMMAND, "exec", ready.profile, "--file", "--", *PYTHON, LISTEN_TO_KEYS],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=ready.helper.env(),
        cwd=ready.helper.home,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    try:
        yield ours
    finally:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            os.close(ours)


def expect(terminal: int, text: str, seen: list[str]) -> None:
    """Reads on until `text` has come."""
    while text not in "".join(seen):
        assert select.select([terminal], [], [], 60)[0], f"{text!r} did not come after {''.join(seen)!r}"
        seen.append(os.read(terminal, 4096).decode())


def test_a_terminals_keys_reach_the_command_once_and_stop_both(terminal: int) -> None:
    """Ctrl-C is the child's already; a second one would end many programs. Ctrl-Z gives the shell its prompt back."""
    seen: list[str] = []
    expect(terminal, "ready", seen)
    expect(terminal, "\n", seen)
    helper = int("".join(seen).split()[2])
    os.write(terminal, b"\x03")
    expect(terminal, "SIGINT", seen)
    os.kill(helper, signal.SIGUSR1)  # passed on after whatever else would be
    expect(terminal, "SIGUSR1", seen)
    os.write(terminal, b"\x1a")
    expect(terminal, f"shell: {128 + signal.SIGSTOP}", seen)
    os.kill(helper, signal.SIGUSR2)
    expect(terminal, "shell: 3", seen)
    assert "".join(seen).count("SIGINT") == 1


def test_no_thread_that_does_not_wait_for_signals_is_left_to_take_them(host: Host) -> None:
    """A watchdog that was still ending once took the SIGCHLD, and the command's end was never seen."""
    script = (
        "import os, threading, time\n"
        "from vault_ticket_plugin.host.supervise import supervise\n"
        "other = threading.Thread(target=time.sleep, args=(1,))\n"
        "other.start()\n"
        "seen = []\n"
        "def beside(ended):\n    seen.append(other.is_alive())\n    ended.wait()\n"
        "print(supervise(['true'], os.environ, beside), seen)\n"
    )
    done = host.run("-c", script, command=sys.executable)
    assert (done.code, done.out, done.err) == (0, "0 [False]\n", "")
