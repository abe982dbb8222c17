"""A server between a run and the one it talks to, that fails as it is told: it refuses, breaks off, hangs, mangles."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HANG_S = 30.0  # longer than any time limit in these tests; ends with the proxy
OWN = {"connection", "transfer-encoding", "content-length", "host"}


@dataclass(frozen=True)
class Asked:
    """A request that came in; `number` counts those with the same method, path and body."""

    method: str
    path: str
    body: bytes
    number: int


@dataclass(frozen=True)
class Reply:
    """What is sent back."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Fault:
    """What happens instead of, or to, the answer. `cut`: bytes of the body that arrive before the connection breaks."""

    status: int | None = None
    hangs: bool = False
    cut: int | None = None
    change: Callable[[Reply], Reply] | None = None


@dataclass
class Proxy:
    """Passes on to `upstream`, an address or a function, what `plan` sees no fault for."""

    upstream: str | Callable[[Asked], Reply]
    plan: Callable[[Asked], Fault | None] = lambda _: None
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _seen: dict[tuple[str, str, bytes], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, method: str, path: str, body: bytes) -> tuple[Asked, Fault | None]:
        """The request, counted, and what goes wrong with it."""
        with self._lock:
            number = self._seen.get((method, path, body), 0)
            self._seen[(method, path, body)] = number + 1
            asked = Asked(method, path, body, number)
            if fault := self.plan(asked):
                self.faults.append(fault)
        return asked, fault

    def forward(self, asked: Asked, headers: dict[str, str]) -> Reply:
        """What the server behind says."""
        if not isinstance(self.upstream, str):
            return self.upstream(asked)
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        with contextlib.closing(connection):
            connection.request(asked.method, asked.path, asked.body, headers)
            answer = connection.getresponse()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in OWN - {"content-length"}}
            return Reply(answer.status, kept, answer.read())


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def _answer(self) -> None:
            body = self._body()
            asked, fault = proxy.asked(self.command, self.path, body)
            fault = fault or Fault()
            self.close_connection = fault.cut is not None or fault.hangs
            if fault.hangs:
                proxy.over.wait(HANG_S)
            elif fault.status:
                self._send(Reply(fault.status, {}, b""), None)
            elif fault.cut != 0:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in OWN}
                reply = proxy.forward(asked, headers)
                self._send(fault.change(reply) if fault.change else reply, fault.cut)

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, reply: Reply, cut: int | None) -> None:
            self.send_response(reply.status)
            length = {} if self.command == "HEAD" else {"content-length": str(len(reply.body))}
            given = {k: v for k, v in reply.headers.items() if self.command == "HEAD" or k.lower() != "content-length"}
            for name, value in (given | length).items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(reply.body[:cut])

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815 - the names that http.server calls

    return Handler


@contextlib.contextmanager
def proxied(upstream: str | Callable[[Asked], Reply], plan: Callable[[Asked], Fault | None]) -> Iterator[Proxy]:
    """A proxy on loopback while the block runs."""
    proxy = Proxy(upstream, plan)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
