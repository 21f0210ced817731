"""A proxy before a server that changes what passes: a skewed clock, a field that gets lost, another version."""

import http.client
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

Headers = Message | dict[str, str]


def unchanged(body: bytes) -> bytes:
    return body


class RewritingProxy:
    """`request` and `answer` change bodies; `date` stands for the answer's Date where it is given."""

    def __init__(
        self,
        port: int,
        request: Callable[[bytes], bytes] = unchanged,
        answer: Callable[[bytes], bytes] = unchanged,
        date: Callable[[], str] | None = None,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def forward(self) -> None:
                body = request(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                try:
                    connection.request(self.command, self.path, body, headers)
                    got = connection.getresponse()
                    content = answer(got.read())
                finally:
                    connection.close()
                self.send_response_only(got.status)
                for name, value in got.getheaders():
                    if name.lower() not in ("content-length", "date"):
                        self.send_header(name, value)
                self.send_header("Date", date() if date else str(got.getheader("Date")))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = forward

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
