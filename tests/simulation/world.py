"""One simulated site: hosts, Vault, a token endpoint and people, and what each step means for the ledger."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.simulation import calls, faults, invariants
from tests.simulation.actors import Actor, Process
from tests.simulation.cluster import Cluster, Past
from tests.simulation.files import texts_in
from tests.simulation.hosts import Host, in_world, new_host
from tests.simulation.ledger import Given, Ledger
from tests.simulation.network import Exchange, Network
from tests.simulation.observed import SOFT, Observed, published
from tests.simulation.people import People
from tests.simulation.plan import Act, Aim, Fault, Plan
from tests.simulation.scheduler import START, Scheduler
from tests.simulation.server import CLIENT, AuthServer
from tests.simulation.vault import ROLE, ROOT, State
from vault_ticket_plugin.errors import VaultTicketError
from vault_ticket_plugin.model import Demand

NAMES = ("web-1", "web-2", "web-3")
ADDRESSES = ("http://localhost:8200", "http://127.0.0.1:8200")
PROFILES = ("support", "helpdesk")
# A ticket with so much left is usable for longer than any call takes.
COMFORT = 26.0
# A standby that is so far behind does not matter to who looks for a ticket.
SHORT_LAG = 0.1
# How late Vault's answers are to a host that is far away for a while.
LATE = 5.0
# How long a token endpoint is away, unless it comes back before.
OUTAGE = 60.0
# How far behind a standby is that is cut off for a while.
BEHIND = 12.0


class World:
    """Everything in one run, and the watcher of its steps."""

    def __init__(self, plan: Plan, place: Path, off: frozenset[str]) -> None:
        self.plan = plan
        self.off = off
        self.scheduler = Scheduler(plan.seed)
        self.scheduler.watcher = self
        self.cluster = Cluster(State({"secret": 2, "kv1": 1}), lambda: self.scheduler.now)
        self.server = AuthServer(lambda: self.scheduler.now)
        self.network = Network(self.scheduler, Observed(self), in_world)
        self.ledger = Ledger()
        self.people = People(self)
        self.hosts = [new_host(self.scheduler, place, name, n) for n, name in enumerate(NAMES[: plan.setting.hosts])]
        self.met: Counter[tuple[str, str]] = Counter()
        self.happened: list[Fault] = []
        self.faults_end = False
        self._passed: Counter[str] = Counter()
        self._aims = list(plan.aims)
        self._faults = list(plan.faults)
        self._number = 0
        self._set_up()

    def _set_up(self) -> None:
        setting, cluster, server = self.plan.setting, self.cluster, self.server
        cluster.lag, cluster.skew, cluster.standby_skew = setting.lag, setting.vault_skew, setting.standby_skew
        server.rotation, server.dialect, server.lifetime = setting.rotation, setting.dialect, setting.lifetime
        server.ends_old_access = setting.ends_old_access
        for number, host in enumerate(self.hosts):
            host.clock.skew = setting.host_skew[number] if number < len(setting.host_skew) else 0.0
            (host.root / "secret-id").write_text("secret-1\n")
            host.write_config(self.config(host))
            if number < setting.bare:
                host.folder("login", "run").write_text("not a folder")
        self.scheduler.now = START - 3600.0
        self.people.put()
        self.scheduler.now, cluster.history = START, [Past(START - 3600.0, cluster.state)]

    def config(self, host: Host, more: str = "") -> str:
        setting = self.plan.setting
        lines = []
        if setting.login == "approle":
            lines += ["[vault.auth]", 'method = "approle"', f'role_id = "{ROLE}"']
            lines += [f'secret_id_file = "{host.root}/secret-id"']
        for profile in PROFILES if setting.sharing else PROFILES[:1]:
            lines += [f"[profiles.{profile}]", f'client_id = "{CLIENT}"', 'token_url = "https://api.test/token"']
            lines += ['revocation_url = "https://api.test/revoke"', f"reuse_grace = {setting.reuse_grace}", more]
            lines += [f'lease = "{setting.lease}"']
            if setting.ticket_kv == 1:
                lines += [f"[profiles.{profile}.ticket]", 'mount = "kv1"', "kv_version = 1"]
            if profile != PROFILES[0]:
                lines += [f"[profiles.{profile}.grant]", 'path = "ticket/support/grant"']
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        self.scheduler.close()
        for host in self.hosts:
            for process in list(host.processes):
                host.end(process, [])

    # -- calls

    def begin(self, act: Act) -> Actor | None:
        """Somebody does something: a call's actor, or None if it is done at once."""
        host = self.hosts[act.host % len(self.hosts)]
        if act.what in ("put", "patch", "edit", "end the grant"):
            self.people.act(act.what)
        elif act.what == "log out":
            self.log_out(host)
        elif act.what == "configure":
            host.write_config(self.config(host, "" if "soft_window" in host.config else f"soft_window = {SOFT}"))
        elif act.what in ("answers late", "answers on time"):
            host.late = LATE if act.what == "answers late" else 0.0
        elif act.what in ("server goes", "server is back"):
            self.server.down_until = self.scheduler.now + (OUTAGE if act.what == "server goes" else 0.0)
        elif act.what == "standby falls behind":
            self.cluster.lag = BEHIND
        elif act.what == "set Vault's clock":
            self.cluster.skew = 0.0
        else:
            return self._spawn(act, host)
        return None

    def log_out(self, host: Host) -> None:
        host.log_out("login")
        self.ledger.user_logs_out(host.name, self.scheduler.now)

    def _spawn(self, act: Act, host: Host) -> Actor:
        environ = self.environ(act, host)
        process = self._process_for(act, host, environ)
        self._number += 1
        name = f"{self._number}.{act.what} {act.profile}@{host.name}"
        kind = act.what.partition(" again")[0]
        actor = self.scheduler.spawn(name, process, lambda: self._body(act, host, environ), kind)
        self.ledger.held[actor] = self._in_reach(host, act, actor) if act.what == "get" else None
        if not any(other.process.machine is host for other in self.scheduler.actors if other is not actor):
            self.ledger.troubled.discard(host.name)
        return actor

    def environ(self, act: Act, host: Host) -> dict[str, str]:
        environ = host.environ(act.session, ADDRESSES[act.alias])
        if self.plan.setting.login == "token":
            environ["VAULT_TOKEN"] = ROOT
        return environ

    def _process_for(self, act: Act, host: Host, environ: Mapping[str, str]) -> Process:
        """A daemon stays; one that another round is using already gets its turn as a daemon of its own."""
        if act.what != "round":
            return host.process()
        busy = {actor.process for actor in self.scheduler.actors}
        key = f"{act.session} {environ['VAULT_ADDR']} {host.config}"
        daemon = host.daemons.get(key)
        if daemon is not None and daemon.process not in busy:
            return daemon.process
        return host.process()

    def _body(self, act: Act, host: Host, environ: Mapping[str, str]) -> object:
        match act.what:
            case "get":
                return calls.get(host, environ, act.profile)
            case "get, forced":
                return calls.get(host, environ, act.profile, Demand(force=True))
            case "get, nearly new":
                return calls.get(host, environ, act.profile, Demand(min_ttl=280.0))
            case "get, uncached":
                return calls.get(host, environ, act.profile, cached=False)
            case "store":
                return calls.store(host, environ, act.profile, self.server.issue())
            case "store, unproven":
                return calls.store(host, environ, act.profile, self.server.issue(), verify=False)
            case "store again":
                return calls.store(host, environ, act.profile, f"{sorted(self.ledger.stored)[0]}-1")
            case "revoke":
                return calls.revoke(host, environ, act.profile)
            case "round":
                return self._round(act, host, environ)
        raise ValueError(act.what)

    def _round(self, act: Act, host: Host, environ: Mapping[str, str]) -> object:
        actor = self.scheduler.current
        assert actor is not None
        key = f"{act.session} {environ['VAULT_ADDR']} {host.config}"
        daemon = host.daemons.get(key)
        if daemon is None or daemon.process is not actor.process:
            daemon = calls.begin_daemon(host, environ, actor.process)
            host.daemons[key] = daemon
        return daemon.look_after(act.profile)

    # -- the watcher

    def before(self, point: str, subject: object) -> None:
        if isinstance(subject, Actor):
            self.ledger.moved(subject, point)
        if self.faults_end or not isinstance(subject, Actor | Exchange):
            return
        if not point.endswith(" late"):
            self._passed[point] += 1
        for kind in self._due(point):
            if faults.can_meet(kind, point):
                self.scheduler.note(f"FAULT {kind}")
                self.met[kind, point] += 1
                self.happened.append(Fault(self.scheduler.step, kind))
                if kind in faults.EXCUSES:
                    self.ledger.excuse()
                faults.KINDS[kind].do(self, subject)
                if faults.stage_of(point) in ("arrive", "processed", "answered"):
                    self.ledger.disturbed(self.scheduler.now)

    def _due(self, point: str) -> list[str]:
        """The kinds of fault that are to happen now."""
        found = [fault.kind for fault in self._faults if fault.step == self.scheduler.step]
        for aim in [aim for aim in self._aims if self._meets(aim, point)]:
            self._aims.remove(aim)
            found.append(aim.kind)
        return found

    def _meets(self, aim: Aim, point: str) -> bool:
        if aim.point.endswith("*"):
            met = sum(times for name, times in self._passed.items() if name.startswith(aim.point[:-1]))
            return point.startswith(aim.point[:-1]) and met > aim.nth
        return point == aim.point and self._passed[point] > aim.nth

    def after(self) -> None:
        for check in invariants.ALL:
            check(self)
        self.ledger.news.clear()

    def ended(self, actor: Actor) -> None:
        """Its process ends with it, unless it is a daemon's."""
        host = self.host_of(actor)
        if actor.kind != "round":
            host.end(actor.process, [])
        if actor.kind == "store":
            self.ledger.storing.pop(actor, None)
        if actor.dead or actor.signalled:
            return
        if actor.error is not None and (
            not isinstance(actor.error, VaultTicketError) or type(actor.error) is VaultTicketError
        ):
            raise actor.error
        if actor.kind.startswith("get") or actor.kind == "round":
            handed = actor.result if isinstance(actor.result, calls.Handed) else None
            self.ledger.news.given.append(Given(actor, handed, self.ledger.held.pop(actor, None)))

    def killed(self, actor: Actor) -> None:
        host = self.host_of(actor)
        sisters = [one for one in self.scheduler.actors if one.process is actor.process]
        host.end(actor.process, self.scheduler.actors)
        for one in sisters:
            self.ledger.killed(one, self.scheduler.now)

    def host_of(self, actor: Actor) -> Host:
        return next(host for host in self.hosts if host is actor.process.machine)

    def holder_of(self, actor: Actor) -> str:
        """What a claim of this process begins with."""
        return f"{actor.process.machine.name} (pid {actor.process.pid},"

    def _in_reach(self, host: Host, act: Act, actor: Actor) -> str | None:
        """A ticket in this user's cache, or one that Vault would show now."""
        cached = self._in_cache(host, act)
        up = self.scheduler.now >= max(self.cluster.down_until, self.cluster.sealed_until)
        if cached is not None or not up or host.late or self.plan.setting.lag > SHORT_LAG:
            return cached
        token = str(published(self, actor).get("access_token", ""))
        access = self.server.access.get(token)
        return token if access is not None and access.ends > self.scheduler.now + COMFORT else None

    def _in_cache(self, host: Host, act: Act) -> str | None:
        """A ticket that this call's user has at hand, and that is usable by true time for longer than it takes."""
        with contextlib.suppress(ValueError, IndexError, KeyError):
            for name, text in texts_in(str(self._runtime(host, act)), ".ticket"):
                access = self.server.access.get(json.loads(text.split("\n")[5])["access_token"])
                if name.startswith(f"{act.profile}-") and access and access.ends > self.scheduler.now + COMFORT:
                    return str(json.loads(text.split("\n")[5])["access_token"])
        return None

    def _runtime(self, host: Host, act: Act) -> Path:
        folder = host.folder(act.session, "run")
        return folder if act.session == "cron" else folder / "vault-ticket"
