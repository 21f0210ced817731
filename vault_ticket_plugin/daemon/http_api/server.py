"""HTTP over sockets: uvicorn in a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from typing import Any

import uvicorn
import uvloop

from vault_ticket_plugin.daemon.http_api.app import HttpApi
from vault_ticket_plugin.daemon.http_api.connection import IDLE_SECONDS, Connection
from vault_ticket_plugin.daemon.http_api.sockets import ListeningSocket
from vault_ticket_plugin.errors import ConfigError

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
# For threads to come and go.
GRACE_SECONDS = 5.0


class _Uvicorn(uvicorn.Server):
    """Its own loop would wake ten times a second to look at flags and the time."""

    def __init__(self, config: uvicorn.Config, web: HttpApi) -> None:
        super().__init__(config)
        self.web = web
        self.ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ended = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(_told)
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        while not self.ended.is_set():
            try:
                await asyncio.wait_for(self.ended.wait(), SWEEP_SECONDS)
            except TimeoutError:
                self.sweep()

    def sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for one in list(self.server_state.connections):
            if isinstance(one, Connection):
                one.sweep(now)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for one in list(self.server_state.connections):
            if isinstance(one, Connection):
                one.transport.abort()
        self.web.close()


class Server:
    """Answers on these sockets from `start` to `stop`, which also closes them."""

    def __init__(self, web: HttpApi, listening: Sequence[ListeningSocket]) -> None:
        self.listening = list(listening)
        config = uvicorn.Config(
            web,
            http=Connection,
            loop="uvloop",
            ws="none",
            lifespan="off",
            interface="asgi3",
            # Neither its loggers (a query, a traceback) nor a proxy's word on who asks.
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(IDLE_SECONDS) + 1,
        )

        uvicorns = logging.getLogger("uvicorn")
        uvicorns.handlers, uvicorns.propagate = [logging.NullHandler()], False

        self._uvicorn = _Uvicorn(config, web)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Returns when it answers."""
        self._thread.start()
        while not self._uvicorn.ready.wait(0.1):
            if not self._thread.is_alive():
                raise ConfigError("the HTTP server does not start", "Look at what it has logged.")

    def stop(self, seconds: float) -> None:
        """New connections are refused at once; answers under way have so long."""
        inner = self._uvicorn
        if inner.loop is not None and self._thread.is_alive():
            inner.config.timeout_graceful_shutdown = max(1, round(seconds))
            inner.loop.call_soon_threadsafe(inner.ended.set)
        self._thread.join(seconds + GRACE_SECONDS)
        if self._thread.is_alive():
            log.warning("the HTTP server has not come to its end")
        for one in self.listening:
            one.close()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        sockets = [one.socket for one in self.listening]
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._uvicorn.serve(sockets=sockets))
        except Exception as error:  # noqa: BLE001 - a thread's last word
            log.error("the HTTP server ended: %s", type(error).__name__)  # noqa: TRY400


def _told(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    log.error("in the HTTP server: %s (%s)", context.get("message", "?"), type(error).__name__)
