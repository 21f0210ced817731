"""HTTP for the server in HashiCorp's words: connections that are kept, and answers framed as the real server's."""

import http.client
import ssl
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler

from tests.support.hashicorp_words import Answer, Asked, Headers
from tests.support.http_server import EndableServer

# Of one connection only, or made anew.
OWN = {"connection", "keep-alive", "content-length", "transfer-encoding", "te", "expect"}


class Proxy(EndableServer):
    """Gives each call to `answer` and sends what it returns; hangs up where it raises that nobody is there."""

    def __init__(self, port: int, answer: Callable[[Asked], Answer], tls: ssl.SSLContext | None) -> None:
        self.answer = answer
        super().__init__(port, _Handler, tls)


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _forward(self) -> None:
        path, _, query = self.path.removeprefix("/v1/").partition("?")
        try:
            asked = Asked(self.command, path, query, self.headers.items(), self._body())
            answer = self.server.answer(asked)
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # hung up on, as by a server that has just died
            return
        self._send(answer)

    do_GET = do_HEAD = do_LIST = do_SCAN = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _forward

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return found

    def _send(self, answer: Answer) -> None:
        """With the real server's own headers, `Date` among them, and in pieces where it sent pieces."""
        named: Headers = [(name.lower(), value) for name, value in answer.headers]
        pieces = ("transfer-encoding", "chunked") in named
        bodiless = self.command == "HEAD" or answer.status in {204, 304}
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in OWN:
                self.send_header(name, value)
        if "date" not in dict(named):
            self.send_header("Date", formatdate(usegmt=True))
        if self.command == "HEAD" and "content-length" in dict(named):
            self.send_header("Content-Length", dict(named)["content-length"])
        elif pieces and not bodiless:
            self.send_header("Transfer-Encoding", "chunked")
        elif not bodiless:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if bodiless:
            return
        if pieces:
            for start in range(0, len(answer.body), 65536):
                piece = answer.body[start : start + 65536]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Says nothing: what happened is its owner's to know."""
