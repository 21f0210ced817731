"""A spend outlives the command that began it, in a process that nobody waits for and that leaves nothing behind.

The server has no grace and ends a family whose old token comes again: a spend that were lost would be seen.
"""

import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.rewriting import RewritingProxy
from tests.support import faults
from tests.support.bao import DevServer
from tests.support.cli import COMMAND, Host, finish
from tests.support.emulator import Emulator
from tests.support.process import processes_with, wait_until
from tests.support.tls import loopback_certificate

# Long enough for a process to be looked at while the server holds its answer back.
PROFILE = {"request_timeout": "6s", "claim_time": "9s"}
SHORT = {"request_timeout": "1s", "claim_time": "2s"}
HOST = "web-1"
# `vault-ticket` with something of the system's taken away by the line in front.
RUN = "import sys; from vault_ticket_plugin.cli import run; sys.exit(run())"


class Spending(Fleet):
    """Each method is about one host; its ticket has expired, so that its next `get` spends."""

    @property
    def where(self) -> Host:
        return self.host(HOST)

    @property
    def args(self) -> list[str]:
        return ["get", self.profile, "--format", "token"]

    def processes(self) -> set[int]:
        """All that runs on the host, those that nobody waits for too."""
        return processes_with(f"XDG_RUNTIME_DIR={self.where.runtime}")

    def begin(self, *command: str | Path, **how: Any) -> "subprocess.Popen[str]":
        """A command on the host, by default a `get`, up to where its token is spent; the answer is held back."""
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = self.where.env(how.pop("env", None))
        process = subprocess.Popen(
            command or [COMMAND, *self.args], env=env, cwd=self.where.home, text=True, **streams | how
        )
        self.wait_for_spend()
        return process

    def wait_for_spend(self) -> None:
        wait_until(lambda: self.api.stats().in_flight == 1, "the token to be spent")

    def wait_for_nobody(self) -> None:
        wait_until(lambda: not self.processes(), "the end of all that runs on this host")

    def check(self) -> str:
        """Nothing is lost, nothing is left behind, and the next call has the ticket without another spend."""
        self.wait_for_nobody()
        ticket = self.assert_good(self.get_at(HOST))
        assert self.has_the_newest_token()
        assert self.journals(HOST) == []
        assert "claim" not in self.notes()
        stats = self.api.stats()
        assert (stats.refreshes, stats.reuses) == (1, 0)
        return ticket


@pytest.fixture
def site(bao: DevServer, emulator: Emulator, tmp_path: Path) -> Iterator[Spending]:
    made = Spending(bao, emulator, tmp_path, **PROFILE)
    made.put_ticket(left=-5)
    yield made
    made.wait_for_nobody()


@pytest.fixture
def held(site: Spending) -> Iterator[Callable[[], None]]:
    """The server's answers are held back until this is called."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(site.api.holding())
        yield stack.close


Release = Callable[[], None]


# -- nobody waits for the process


class TestStreams:
    @pytest.mark.parametrize(
        "line",
        [
            'x=$("$0" "$@"); echo "code $?"',
            '"$0" "$@" 2>&1 | cat; echo "code ${PIPESTATUS[0]}"',
            '"$0" "$@" 2>&1 | (head -c1 >/dev/null; cat >/dev/null); echo "code ${PIPESTATUS[0]}"',
            '( flock 9; "$0" "$@"; echo "code $?" ) 9>f; flock --nonblock f true || echo "is locked"',
        ],
        ids=["substitution", "pipe", "head", "flock"],
    )
    def test_shell_goes_on(self, site: Spending, held: Release, line: str) -> None:
        """Whoever reads what the command prints, or waits for a lock that it was given, waits for the command alone."""
        shell = site.begin("/bin/bash", "-c", line, COMMAND, *site.args, "--timeout", "1s")
        done = finish(shell, 20)

        assert done.out.splitlines()[-1] == "code 75"
        assert len(site.processes()) == 1
        assert site.api.stats().in_flight == 1
        held()
        site.check()

    def test_inherited_descriptors(self, site: Spending, held: Release) -> None:
        """A pipe on some descriptor, and a thousand more: the process has those it works with, and no other."""
        reader, writer = os.pipe()
        more = [os.dup(writer) for _ in range(1000)]
        command = site.begin(pass_fds=[writer, *more])
        for fd in (writer, *more):
            os.close(fd)
        (process,) = site.processes() - {command.pid}
        kept = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{process}/fd").iterdir()}
        command.kill()
        finish(command)

        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 1) == b""
        assert site.api.stats().in_flight == 1
        os.close(reader)
        held()
        assert [kept.pop(standard) for standard in "012"] == ["/dev/null"] * 3
        assert sorted(where.partition(":")[0] for where in kept.values()) == sorted(
            [str(site.where.runtime / "vault-ticket"), *kept_locks(site), *["socket"] * 3]
        )
        site.check()

    def test_lock(self, site: Spending, held: Release) -> None:
        """The host's is the process's, with or without the command."""
        command = site.begin()
        command.kill()
        finish(command)
        (lock,) = kept_locks(site)
        assert not is_free(lock)
        held()
        wait_until(lambda: is_free(lock), "the lock")
        site.check()

    def test_closed_streams(self, site: Spending) -> None:
        """What the command opens then gets their numbers, which are not to be taken for streams."""
        finish(site.where.start("-c", '"$0" "$@" <&- >&- 2>&-', str(COMMAND), *site.args, command="/bin/sh"))
        site.wait_for_nobody()
        assert "from this host's cache" in site.get_at(HOST, "-v").err
        site.check()

    def test_where_it_stands(self, site: Spending, held: Release) -> None:
        """It keeps no folder busy, has a session of its own, and shows nobody more than its command does."""
        command = site.begin()
        (process,) = site.processes() - {command.pid}
        ours, its = Path(f"/proc/{command.pid}"), Path(f"/proc/{process}")

        assert os.readlink(its / "cwd") == "/"
        assert os.getsid(process) not in (os.getsid(0), os.getsid(command.pid))
        assert os.getpgid(process) != os.getpgid(command.pid)
        for name in ("cmdline", "environ"):
            assert (its / name).read_bytes() == (ours / name).read_bytes()
        held()
        site.assert_good(finish(command))
        site.check()


def is_free(lock: str) -> bool:
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def kept_locks(site: Spending) -> list[str]:
    return [str(path) for path in (site.where.runtime / "vault-ticket").glob("*.lock")]


# -- signals to the command


class TestSignals:
    def test_second_ends_at_once(self, site: Spending, held: Release) -> None:
        """The first one lets it wait for the process a little; whoever insists does not wait."""
        command = site.begin()
        command.send_signal(signal.SIGTERM)

        def insist() -> bool:
            command.send_signal(signal.SIGINT)
            return command.poll() is not None

        wait_until(insist, "its end", timeout=1.5)
        finish(command)
        assert command.returncode in (-signal.SIGTERM, -signal.SIGINT)
        assert site.api.stats().in_flight == 1
        held()
        site.check()

    def test_meant_for_the_process(self, site: Spending, held: Release) -> None:
        """A supervisor's SIGTERM to all of a control group, among others."""
        command = site.begin()
        (process,) = site.processes() - {command.pid}
        for name in ("TERM", "INT", "HUP", "QUIT", "PIPE", "TSTP", "TTIN", "TTOU"):
            os.kill(process, getattr(signal, f"SIG{name}"))
        held()
        site.assert_good(finish(command))
        site.check()

    @pytest.mark.parametrize(
        ("line", "number"),
        [('trap \'\' INT; exec "$0" "$@"', signal.SIGINT), ('exec nohup "$0" "$@"', signal.SIGHUP)],
        ids=["trap", "nohup"],
    )
    def test_ignored_ones_stay_ignored(self, site: Spending, held: Release, line: str, number: int) -> None:
        command = site.begin("/bin/sh", "-c", line, COMMAND, *site.args)
        command.send_signal(number)
        held()
        site.assert_good(finish(command))
        site.check()

    def test_background_job(self, site: Spending, held: Release) -> None:
        """A shell without job control starts it with SIGINT ignored: Ctrl-C is not meant for it."""
        shell = site.begin("/bin/sh", "-c", '"$0" "$@" & wait', COMMAND, *site.args, process_group=0)
        for pid in site.processes() - {shell.pid}:
            os.kill(pid, signal.SIGINT)
        held()
        site.assert_good(finish(shell))
        site.check()

    def test_timeout(self, site: Spending, held: Release) -> None:
        done = finish(site.begin("timeout", "1.5", COMMAND, *site.args), 20)
        assert (done.code, done.out) == (124, "")
        assert site.api.stats().in_flight == 1
        held()
        site.check()

    def test_parent_ignores_sigchld(self, site: Spending) -> None:
        """It can't wait for its first child then."""
        ignoring = (
            "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
        )
        site.assert_good(site.where.run("-c", ignoring, str(COMMAND), *site.args, command=sys.executable))
        site.check()


class Terminal:
    """A shell with job control at a terminal. Its keyboard is `keys`."""

    def __init__(self, site: Spending, line: str) -> None:
        self.keys, theirs = pty.openpty()
        self.seen = ""
        command: list[str | Path] = ["/bin/bash", "-c", f"set -m; {line}", COMMAND, *site.args]
        self.shell = site.begin(
            *command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def expect(self, text: str) -> None:
        while text not in self.seen:
            assert select.select([self.keys], [], [], 30)[0], f"{text!r} did not come after {self.seen!r}"
            self.seen += os.read(self.keys, 4096).decode()

    def press(self, key: bytes) -> None:
        os.write(self.keys, key)

    def close(self) -> None:
        os.close(self.keys)


class TestTerminal:
    def test_stopped_job(self, site: Spending, held: Release) -> None:
        """Ctrl-Z: the process goes on, other calls here get their ticket, and the job prints it once it goes on too."""
        terminal = Terminal(site, '"$0" "$@"; echo "stopped $?"; read -r _; fg >/dev/null; echo "ended $?"')
        terminal.press(b"\x1a")
        terminal.expect(f"stopped {128 + signal.SIGTSTP}")
        held()
        wait_until(lambda: len(site.processes()) == 2, "the process's end: the shell and its job are there")
        assert all(is_free(lock) for lock in kept_locks(site))
        ticket = site.assert_good(site.get_at(HOST))

        terminal.press(b"\n")
        terminal.expect("ended 0")
        assert ticket in terminal.seen
        terminal.shell.wait(30)
        terminal.close()
        site.check()

    def test_interrupted(self, site: Spending, held: Release) -> None:
        """Ctrl-C goes to all that the terminal runs. The shell sees that, and ends its script."""
        terminal = Terminal(site, '"$0" "$@"; echo "went on"')
        terminal.press(b"\x03")
        assert terminal.shell.wait(30) == 128 + signal.SIGINT
        assert "went on" not in terminal.seen
        assert site.api.stats().in_flight == 1
        held()
        terminal.close()
        site.check()

    def test_closed(self, site: Spending, held: Release) -> None:
        terminal = Terminal(site, 'exec "$0" "$@"')
        terminal.close()
        assert terminal.shell.wait(30) == -signal.SIGHUP
        assert site.api.stats().in_flight == 1
        held()
        site.check()


# -- a command that does not read


class TestStopped:
    def test_long_token(self, site: Spending, held: Release) -> None:
        """It is answered into a pipe that nobody reads: the process ends all the same, and holds nothing up."""
        long = "a" * 40_000
        site.api.behaviour.next = [faults.answer(access_token=long)]
        command = site.begin(COMMAND, *site.args, "-vv")
        command.send_signal(signal.SIGSTOP)
        held()
        wait_until(lambda: site.processes() == {command.pid}, "the process's end")
        assert site.get_at(HOST).out.strip() == long

        command.send_signal(signal.SIGCONT)
        done = finish(command)
        assert (done.code, done.out.strip()) == (0, long)


# -- patience, and what else the command may be asked for


class TestPatience:
    def test_goes_on(self, site: Spending, held: Release) -> None:
        done = finish(site.begin(COMMAND, *site.args, "--timeout", "1s"))
        assert (done.code, done.out) == (75, "")
        assert "It goes on by itself" in done.err
        held()
        site.check()

    def test_month(self, site: Spending) -> None:
        """More milliseconds than poll(2) counts."""
        site.assert_good(site.get_at(HOST, "--timeout", "40d"))
        site.check()

    def test_wait(self, site: Spending) -> None:
        """Two processes, one after the other, for one command."""
        site.api.behaviour.next = [faults.busy(code=503), *[faults.html(503)] * 9]
        site.host(HOST, request_timeout="1s")
        process = site.start(HOST, "--wait")
        wait_until(lambda: site.api.stats().requests > 1, "a failure")
        site.api.behaviour.next = []
        site.assert_good(finish(process))
        site.check()

    @pytest.mark.parametrize("wrapped", [False, True], ids=["secret id", "wrapped secret id"])
    def test_wrapped_afterwards(self, site: Spending, wrapped: bool) -> None:
        """The process has login and connection; the command gets others for what it still asks of Vault.

        With a secret id that logs in once there are no others, and no process.
        """
        log_in(site, PROFILE, wrapped)
        mark = site.bao.mark()
        done = site.where.run("get", site.profile, "--wrap", "60s")
        assert (done.code, done.err) == (0, "")
        assert [one.path for one in site.bao.requests_seen(since=mark) if one.error] == []
        ticket = site.host("web-2").run("unwrap", "--format", "token", stdin=done.out).out.strip()
        assert site.api.access_alive(ticket)
        assert site.has_the_newest_token()
        assert site.api.stats().refreshes == 1


# -- over TLS


class TestSecure:
    @pytest.fixture
    def secure(self, tmp_path: Path) -> Iterator[Spending]:
        """Vault and the token endpoint under CAs of their own, whose certificates are in the working directory."""
        made = loopback_certificate(tmp_path)
        with DevServer(tls=True) as bao, Emulator(cert=made.cert, key=made.key) as api:
            site = Spending(bao, api, tmp_path / "site", **PROFILE)
            site.put_ticket(left=-5)
            home = site.where.home
            shutil.copy(made.ca, home / "api.pem")
            shutil.copy(str(bao.ca_file), home / "vault.pem")
            (home / "token").touch(mode=0o600)
            (home / "token").write_text(site.where.environ.pop("VAULT_TOKEN"))
            del site.where.environ["VAULT_CACERT"]
            site.where.environ["SSL_CERT_FILE"] = "api.pem"
            yield site
            site.wait_for_nobody()

    def test_paths(self, secure: Spending) -> None:
        """Relative ones, in the environment and in the configuration: the process stands elsewhere."""
        host = secure.where
        in_environment = {"VAULT_CACERT": "vault.pem", "BAO_TOKEN_PATH": "token"}
        done = host.run(*secure.args, env=in_environment)
        ticket = secure.assert_good(done)

        secure.configure(
            host, vault={"ca_cert": "vault.pem", "auth": {"method": "token", "token_file": "token"}}, **PROFILE
        )
        shutil.copy(host.config_file, host.home / "here.toml")
        done = host.run(*secure.args, "--force", env={"VAULT_TICKET_CONFIG": "here.toml", "HOME": "."})
        assert secure.assert_good(done) != ticket
        assert secure.has_the_newest_token()

    def test_wrapped_afterwards(self, secure: Spending) -> None:
        """The command leaves the connection alone: two can't talk over one."""
        env = {"VAULT_CACERT": "vault.pem", "BAO_TOKEN_PATH": "token"}
        done = secure.where.run("get", secure.profile, "--wrap", "60s", "-v", env=env)
        assert done.code == 0, done.err
        assert "trying again" not in done.err


# -- exec


EXEC_TELLS = """
import json, os, sys
try:
    child = os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    child = None
others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
print(json.dumps({"token": os.environ["TICKET_ACCESS_TOKEN"], "child": child, "pid": os.getpid(), "others": others}))
sys.exit(7)
"""
PYTHON = (sys.executable, "-I", "-S", "-c")


class TestExec:
    def args(self, site: Spending) -> list[str]:
        return ["exec", site.profile, "--", *PYTHON, EXEC_TELLS]

    def test_no_child_is_left(self, site: Spending) -> None:
        """A command that waits for its children has none of ours among them."""
        done = site.where.run(*self.args(site))
        assert (done.code, done.json()["child"]) == (7, None), done.err
        assert done.json()["token"] == site.check()

    def test_shell_waits(self, site: Spending, held: Release) -> None:
        """With a usable ticket the command runs while the process goes on."""
        site.put_ticket(left=300)
        line = 'sleep 0.1 & wait; echo "waited $?"'
        done = finish(site.begin(COMMAND, "exec", site.profile, "--", "/bin/sh", "-c", line))
        assert (done.code, done.out) == (0, "waited 0\n"), done.err
        assert site.api.stats().in_flight == 1
        held()
        site.check()


@pytest.fixture
def namespace() -> list[str]:
    """The command that makes what follows PID 1 of its own."""
    command = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("needs a PID namespace: root, and unshare(1)")
    return command


class TestPidOne:
    def test_reaped_before_the_command_runs(self, site: Spending, namespace: list[str]) -> None:
        done = site.where.run(*namespace[1:], str(COMMAND), *TestExec().args(site), command=namespace[0])
        assert done.code == 7, done.err
        told = done.json()
        assert (told["pid"], told["child"], told["others"]) == (1, None, [])
        assert told["token"] == site.check()

    def test_told_to_end(self, site: Spending, namespace: list[str], held: Release) -> None:
        """What ends with it would take the process along: it waits for as long as a claim lasts."""
        outer = site.begin(*namespace, COMMAND, *site.args)
        (inner,) = (pid for pid in children_of(outer.pid))
        os.kill(inner, signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            outer.wait(2.5)
        assert site.api.stats().in_flight == 1
        held()
        assert finish(outer).code == 128 + signal.SIGTERM
        site.check()

    def test_exit_codes(self, site: Spending, namespace: list[str]) -> None:
        for profile, code in ((site.profile, 0), ("no-such-profile", 78)):
            done = site.where.run(*namespace[1:], str(COMMAND), "get", profile, command=namespace[0])
            assert done.code == code, done.err


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# -- where no process is to be had


def without(what: str) -> list[str]:
    """`vault-ticket` where the system refuses this; for Python's -c."""
    return ["-c", f"import errno, os, threading\n{what}\n{RUN}"]


NO_FORK = """
fork, calls = os.fork, []
def refuse():
    calls.append(1)
    if len(calls) == {at}:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return fork()
os.fork = refuse
"""
NO_THREAD = """
def refuse(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
"""
IGNORE_CHILDREN = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"


class TestNoProcess:
    @pytest.mark.parametrize(
        "refused",
        [
            NO_FORK.format(at=1),
            NO_FORK.format(at=2),
            NO_FORK.format(at=1) + NO_THREAD,
            IGNORE_CHILDREN + NO_FORK.format(at=2),
        ],
        ids=["first", "second", "nor a thread", "second, and nobody to wait for"],
    )
    def test_in_place(self, site: Spending, held: Release, refused: str) -> None:
        """The spend is done in the command, which acts on a signal when it is done."""
        command = site.begin(sys.executable, *without(refused), *site.args, "-v")
        assert site.processes() == {command.pid}
        command.send_signal(signal.SIGTERM)
        held()
        done = finish(command)

        assert (done.code, done.out) == (-signal.SIGTERM, "")
        assert done.err.count("no process can be started") == 1
        site.check()

    def test_limit(self, site: Spending) -> None:
        """RLIMIT_NPROC, as another user: neither a process nor a thread."""
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            pytest.skip("needs root, and setpriv(1)")
        uid = 54321
        for folder in (site.where.runtime, site.where.state, site.where.home):
            os.chown(folder, uid, uid)
        may_read_all = ("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override")
        other = ["--reuid", str(uid), "--clear-groups", *may_read_all, "prlimit", "--nproc=1", str(COMMAND)]
        done = site.where.run(*other, *site.args, "-v", command="setpriv")

        site.assert_good(done)
        assert done.err.count("no process can be started") == 1
        assert site.has_the_newest_token()


# -- Vault hangs


class Hanging:
    """For RewritingProxy: from the nth request on none gets through."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.seen = 0
        self.over = threading.Event()

    def __call__(self, body: bytes) -> bytes:
        self.seen += 1
        if self.seen >= self.nth:
            self.over.wait(60)
        return body

    @property
    def hangs(self) -> bool:
        return self.seen >= self.nth


# In this order a refresh asks Vault for: the leased path, the grant, the claim, the leased path again, the save, …
READ, CLAIM, SAVE = 2, 3, 5


@pytest.fixture
def hanging(site: Spending) -> Iterator[Callable[[int], Hanging]]:
    """Puts a Vault before the host that accepts, and never answers from its nth request on."""
    with contextlib.ExitStack() as stack:

        def begin(nth: int) -> Hanging:
            made = Hanging(nth)
            proxy = stack.enter_context(RewritingProxy(site.bao.port, made))
            stack.callback(made.over.set)
            site.where.environ["VAULT_ADDR"] = proxy.address
            return made

        yield begin


class TestVaultHangs:
    @pytest.mark.parametrize("nth", [READ, CLAIM], ids=["read", "claim"])
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_before_the_claim(
        self, site: Spending, hanging: Callable[[int], Hanging], nth: int, number: signal.Signals
    ) -> None:
        """Nothing is spent, and nobody waits any more: the process leaves."""
        site.host(HOST, **SHORT)
        vault = hanging(nth)
        command = site.start(HOST)
        wait_until(lambda: vault.hangs, "the request that hangs")
        command.send_signal(number)
        if nth == READ:  # a process that leaves is not waited for
            command.wait(1.5)
        finish(command)
        # A claim that is being written is seen through.
        wait_until(lambda: not site.processes(), "the process's end", timeout=1.5 if nth == READ else 3)
        assert site.api.stats().requests == 0

    def test_after_the_answer(self, site: Spending, hanging: Callable[[int], Hanging]) -> None:
        """A second after the claim's end it is gone: the token is on disk, the login is not waited for."""
        profile = {"request_timeout": "2s", "claim_time": "4s"}
        site.host(HOST, **profile)
        log_in(site, profile)
        vault = hanging(SAVE + 1)  # the login comes first
        command = site.start(HOST)
        wait_until(lambda: site.api.stats().requests == 1, "the spend")
        command.kill()
        finish(command)
        wait_until(lambda: not site.processes(), "the process's end", timeout=5)
        assert [path.parent.parent for path in site.journals(HOST)] == [site.where.state]

        vault.over.set()
        site.where.environ |= site.bao.env
        log_in(site, PROFILE)
        site.assert_good(site.get_at(HOST))
        assert site.has_the_newest_token()

    def test_out_of_patience(self, site: Spending, hanging: Callable[[int], Hanging]) -> None:
        """What is wrong is said, and not that the refresh goes on."""
        hanging(READ)
        done = site.get_at(HOST, "--timeout", "2s")
        assert done.code == 69, done.err
        assert "gives no answer" in done.err


# -- the process is killed


class TestKilled:
    @pytest.mark.parametrize("moment", ["before:claim", "before:spend", "before:save"])
    def test_usable_ticket(self, site: Spending, moment: str) -> None:
        """It is handed out, with a line of what happened."""
        site.put_ticket(left=300, token="an-older-ticket")
        done = site.crash(HOST, moment)
        assert (done.code, done.out) == (0, "an-older-ticket\n"), done.err
        assert "was ended before it had finished" in done.err


# -- the runtime folder goes


def test_logout(site: Spending, held: Release) -> None:
    """What the host remembers is gone, and nothing else is: the grant has the token, the command its ticket."""
    command = site.begin()
    shutil.rmtree(site.where.runtime / "vault-ticket")
    held()
    done = finish(command)
    site.assert_good(done)
    assert "bug" not in done.err
    site.wait_for_nobody()
    assert site.has_the_newest_token()


# -- what passes between the two


class TestWire:
    def test_log_lines(self, site: Spending) -> None:
        """They are the command's own."""
        done = site.get_at(HOST, "-vv")
        site.assert_good(done)
        lines = done.err.splitlines()
        assert all(line.startswith("vault-ticket: ") for line in lines), done.err
        assert any(line.startswith("vault-ticket: debug: POST") for line in lines)
        assert any(line.startswith("vault-ticket: info: found one") for line in lines)

    def test_json_lines(self, site: Spending) -> None:
        done = site.get_at(HOST, "-vv", "--log-format", "json")
        site.assert_good(done)
        told = [json.loads(line) for line in done.err.splitlines()]
        assert {"debug", "info"} <= {one["level"] for one in told}
        assert any(one["module"] == "vault_ticket_plugin.refresh.rotation" for one in told)

    def test_no_refresh_token(self, site: Spending, tmp_path: Path) -> None:
        """Neither the old nor the new one; the access token is what it is for."""
        if shutil.which("strace") is None:
            pytest.skip("needs strace(1)")
        trace, before = tmp_path / "trace", site.refresh_token()
        how = ["-ff", "-s", "100000", "-o", str(trace), "-e", "trace=socketpair,write,sendto,sendmsg"]
        done = site.where.run(*how, str(COMMAND), *site.args, "-vv", command="strace")
        ticket = site.assert_good(done)
        lines, said = list[str](), list[str]()
        command = next(one for one in tmp_path.glob("trace.*") if "socketpair(" in one.read_text())
        commands, processes = command.read_text().partition("[")[2].partition("]")[0].split(", ")
        for one in tmp_path.glob("trace.*"):
            calls = one.read_text().splitlines()
            # The process closes the command's end, so that another of its sockets may have that number.
            ends = [commands, processes] if one == command else [processes]
            said += [call for call in calls if any(f"({fd}, " in call for fd in ends)]
            lines += calls
        assert any(ticket in line for line in said)
        for token in (before, site.refresh_token()):
            assert any(token in line for line in lines)
            assert not any(token in line for line in said)


# -- the login


def log_in(site: Spending, profile: dict[str, str], wrapped: bool = False) -> None:
    """The host's own login is an AppRole's, whose tokens are to be given back."""
    host = site.where
    name = f"x-{site.profile}"
    role, secret = site.bao.enable_approle(name, ["ticket-refresher"], token_ttl="10m")
    host.environ.pop("VAULT_TOKEN", None)
    file = host.secret_file("secret-id", site.bao.secret_id(name, wrap_ttl="5m") if wrapped else secret)
    auth = {"method": "approle", "role_id": role, "secret_id_file": str(file), "wrapped": wrapped}
    site.configure(host, vault={"auth": auth}, **profile)


class TestLogin:
    def accessors(self, site: Spending) -> set[str]:
        _, answer = site.bao.api("LIST", "auth/token/accessors")
        return set(answer["data"]["keys"])

    @pytest.mark.parametrize("ending", ["success", "failure", "killed", "told", "impatient"])
    def test_given_back(self, site: Spending, ending: str) -> None:
        log_in(site, PROFILE)
        before = self.accessors(site)

        if ending in ("success", "failure"):
            site.api.behaviour.next = [faults.html()] if ending == "failure" else []
            assert site.get_at(HOST).code == (76 if ending == "failure" else 0)
        else:
            with site.api.holding():
                command = site.begin(COMMAND, *site.args, *(["--timeout", "1s"] if ending == "impatient" else []))
                assert len(self.accessors(site) - before) == 1
                if ending != "impatient":
                    command.send_signal(signal.SIGKILL if ending == "killed" else signal.SIGTERM)
                finish(command)
        site.wait_for_nobody()
        assert self.accessors(site) <= before
