"""A server on loopback that answers what a test tells it to, and keeps what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: object


Answer = tuple[int, object] | tuple[int, object, dict[str, str]]


@dataclass
class Scripted:
    url: str
    answer: Callable[[Asked], Answer] = lambda asked: (404, {})
    asked: list[Asked] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers), json.loads(data) if data else None)
            scripted.asked.append(asked)
            status, body, *headers = scripted.answer(asked)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_one

        def log_message(self, *words: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    scripted = Scripted(f"http://127.0.0.1:{http.server_address[1]}")
    yield scripted
    http.shutdown()
    http.server_close()
    thread.join()
