"""One client's connection: uvicorn's protocol, with bounds on all that a client can make it hold.

uvicorn and its parser bound neither a request's head nor how long it takes, nor how many connections there are.
"""

from __future__ import annotations

import os
import socket
from email.utils import formatdate
from typing import Any, Literal

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vault_ticket_plugin.daemon.http_api.access import Peer, peer_of
from vault_ticket_plugin.daemon.http_api.app import METHODS
from vault_ticket_plugin.daemon.http_api.problem import Response, problem

# A Vault token is at most a few KiB; nothing that is asked here has a body.
MAX_HEAD, MAX_BODY = 16 * 1024, 1024
# From its first byte (or the connection, whichever is later) to its last; from an answer to the next request; from a
# request to where its answer is taken, which is longer than any answer takes.
HEAD_SECONDS, IDLE_SECONDS, ANSWER_SECONDS = 5.0, 60.0, 60.0
# Requests sent before the answer to an earlier one is there.
MAX_PIPELINED = 16
# Below the 1024 files that a process may usually have open. One caller (a user on the unix socket, all of TCP) never
# keeps others out; its oldest connection that is waiting for a request gives way to a new one.
MAX_CONNECTIONS, MAX_BY_ONE = 512, 128


class Unfit(Exception):
    """A request that is not read to its end."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status)
        self.status, self.detail = status, detail


class Connection(HttpToolsProtocol):
    """One client."""

    peer: Peer | None = None
    caller: object = "tcp"
    waits_for: Literal["head", "answer", "idle"] = "head"
    since = 0.0
    """When it began to wait for that, by the loop's clock."""
    _in_head = False
    _deaf = False
    _head_size = 0
    _body_size = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.since = self.loop.time()
        try:
            self.peer = _peer(transport)
        except OSError:  # it has gone already
            transport.abort()
            return
        if self.peer is not None:
            self.caller = self.peer.uid
        if not self._has_room():
            self._last_words(problem(503, "too many connections", "", [(b"retry-after", b"1")]))

    def _has_room(self) -> bool:
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        mine = [one for one in others if one.caller == self.caller]
        crowd = mine if len(mine) >= MAX_BY_ONE else others if len(others) >= MAX_CONNECTIONS else None
        if crowd is None:
            return True
        waiting = [one for one in crowd if one.waits_for != "answer"]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda one: one.since)
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def sweep(self, now: float) -> None:
        """End what has waited for too long."""
        waited = now - self.since
        if self.transport.is_closing():  # but what it was answered has not been taken yet
            if waited > ANSWER_SECONDS:
                self.transport.abort()
        elif self.waits_for == "head" and waited > HEAD_SECONDS:
            self._last_words(problem(408, "the request did not come to its end"))
        elif self.waits_for == "idle" and waited > IDLE_SECONDS:
            self.transport.close()
        elif self.waits_for == "answer" and waited > ANSWER_SECONDS:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self.waits_for == "idle":
            self._now("head")

        try:
            if len(data) <= MAX_HEAD and not self._in_head:
                self.parser.feed_data(data)
            else:
                self._feed_in_pieces(data)
        except httptools.HttpParserUpgrade:
            self._hang_up(None)
        except httptools.HttpParserInvalidMethodError:
            self._hang_up(problem(405, "nothing here is changed", "Use GET.", [(b"allow", METHODS)]))
        except (httptools.HttpParserError, Unfit) as error:
            unfit = error if isinstance(error, Unfit) else error.__context__
            if isinstance(unfit, Unfit):
                self._hang_up(problem(unfit.status, unfit.detail))
            else:
                self._hang_up(problem(400, "this is not HTTP"))

    def _feed_in_pieces(self, data: bytes) -> None:
        """So that a head without an end is noticed while it is small."""
        for start in range(0, len(data), MAX_HEAD):
            if self._deaf or self.transport.is_closing():
                return
            piece = data[start : start + MAX_HEAD]
            began = self._in_head
            self.parser.feed_data(piece)
            if began and self._in_head:
                self._count(len(piece), exact=False)

    def _count(self, size: int, *, exact: bool = True) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD * (1 if exact else 2):
            raise Unfit(431, "the request's head is too long")

    # -- the parser tells

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Unfit(429, "too many requests before an answer")
        super().on_message_begin()
        self._in_head, self._head_size, self._body_size = True, 0, 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        if not self.url and not url.startswith(b"/"):
            raise Unfit(400, "the request's target is no path")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if not self._in_head:
            raise Unfit(400, "a request's body has no trailer here")
        lower = name.lower()
        if lower == b"transfer-encoding" or (lower == b"content-length" and not _is_small(value)):
            raise Unfit(413, "no request here has a body")
        self.headers.append((lower, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        self.scope["state"]["peer"] = self.peer
        self._now("answer")

    def on_body(self, body: bytes) -> None:
        """Nobody reads it."""
        self._body_size += len(body)
        if self._body_size > MAX_BODY:
            raise Unfit(413, "no request here has a body")

    # --

    def on_response_complete(self) -> None:
        """As uvicorn does it, but for its timer on every answer: `sweep` sees to that."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            self._now("answer")
        else:
            self._now("head" if self._in_head else "idle")

    def _now(self, waits_for: Literal["head", "answer", "idle"]) -> None:
        self.waits_for, self.since = waits_for, self.loop.time()

    def _hang_up(self, answer: Response | None) -> None:
        """Read nothing more. What was asked before is still answered, and then nothing can be said of the rest."""
        self._deaf = True
        if self.waits_for == "answer":
            self.cycle.keep_alive = False
        elif answer is None:
            self.transport.close()
        else:
            self._last_words(answer)

    def _last_words(self, answer: Response) -> None:
        self._deaf = True
        if self.transport.is_closing():
            return
        lines = [b"HTTP/1.1 %d " % answer.status, *(b"\r\n%s: %s" % one for one in answer.headers)]
        lines.append(b"\r\ndate: %s" % formatdate(usegmt=True).encode())
        self.transport.write(b"".join([*lines, b"\r\nconnection: close\r\n\r\n", answer.body]))
        self.transport.close()


def _peer(transport: Any) -> Peer | None:
    # uvloop's stand-in for the socket hands none of its own out.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
        return peer_of(own)


def _is_small(length: bytes) -> bool:
    return length.isdigit() and len(length) <= 4 and int(length) <= MAX_BODY
