"""A web server for one page on this machine: it serves the files that it was given and nothing else.

Every address starts with a secret, and the Host header has to be the loopback address, so that no other page of the user's
browser (or a name that an attacker points at 127.0.0.1) can read a model or send a result.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from convkit.errors import UsageError

__all__ = ["PageServer"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
_POLICY = (
    "default-src 'none'",
    "worker-src 'self' blob:",
    "connect-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # Together they give the page threads, and timers that can time a fast model.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LARGEST_POST = 1 << 32


def _policy(page: bytes) -> str:
    """What a page may do; of scripts inside of it only its own import map, which cannot be a file."""
    hashes = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in _IMPORT_MAP.findall(page)]
    scripts = ("script-src 'self' 'wasm-unsafe-eval'", *(f"'sha256-{value}'" for value in hashes))
    return "; ".join((" ".join(scripts), *_POLICY))


Answer = Callable[[], bytes | None]
Receive = Callable[[bytes], None]


class PageServer:
    """The server, on a thread of its own until it is closed.

    Args:
        port: 0 for any free one.

    Raises:
        UsageError: The port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._secret = secrets.token_urlsafe(18)
        self._files: dict[str, Path] = {}
        self._gets: dict[str, Answer] = {}
        self._posts: dict[str, Receive] = {}
        handler = type("_BoundHandler", (_Handler,), {"owner": self})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise UsageError(f"no page can be served on port {port}: {error.strerror}", hint="choose another --port") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, address: str) -> str:
        """The whole URL of an address."""
        return f"http://127.0.0.1:{self.port}/{self._secret}/{address}"

    def add_file(self, address: str, path: Path) -> str:
        """Serves a file at an address; returns the address."""
        self._files[address] = path
        return address

    def add_folder(self, address: str, folder: Path, *suffixes: str) -> None:
        """Serves the files directly in a folder that have one of the suffixes, below an address."""
        for path in sorted(folder.iterdir()):
            if path.suffix in suffixes and path.is_file():
                self.add_file(f"{address}/{path.name}", path)

    def add_answer(self, address: str, answer: Answer) -> None:
        """Serves what a function returns at that moment; None is "nothing yet"."""
        self._gets[address] = answer

    def add_receiver(self, address: str, receive: Receive) -> None:
        """Hands what a page posts to a function."""
        self._posts[address] = receive

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _resolve(self, path: str) -> str | None:
        """The address in the path of a request, None where the secret is wrong."""
        secret, _, address = path.partition("?")[0].removeprefix("/").partition("/")
        return address if secrets.compare_digest(secret.encode(), self._secret.encode()) else None


class _Handler(BaseHTTPRequestHandler):
    owner: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "convkit"
    sys_version = ""

    def do_GET(self) -> None:
        address = self._address()
        if address is None:
            return
        if address in self.owner._gets:
            answer = self.owner._gets[address]()
            self._send(HTTPStatus.NO_CONTENT if answer is None else HTTPStatus.OK, "application/octet-stream", answer or b"")
        elif address in self.owner._files:
            self._send_file(self.owner._files[address])
        else:
            self._send(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        address = self._address()
        if address is None:
            return
        origin = self.headers.get("Origin")
        length = self.headers.get("Content-Length", "")
        if origin not in (None, f"http://127.0.0.1:{self.owner.port}") or address not in self.owner._posts:
            self._refuse(HTTPStatus.NOT_FOUND)
        elif not length.isdigit() or int(length) > _LARGEST_POST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self.owner._posts[address](self.rfile.read(int(length)))
            self._send(HTTPStatus.NO_CONTENT)

    def _address(self) -> str | None:
        """The address of a request that may be answered; others are refused here."""
        known = {f"127.0.0.1:{self.owner.port}"}
        address = self.owner._resolve(self.path) if self.headers.get("Host") in known else None
        if address is None:
            self._refuse(HTTPStatus.FORBIDDEN)
        return address

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True  # what a refused request carries is not read
        self._send(status)

    def _send_file(self, path: Path) -> None:
        try:
            stream = path.open("rb")
        except OSError:
            self._send(HTTPStatus.NOT_FOUND)
            return
        with stream:
            policy = _policy(path.read_bytes() if path.suffix == ".html" else b"")
            self._head(HTTPStatus.OK, _TYPES.get(path.suffix, "application/octet-stream"), path.stat().st_size, policy)
            shutil.copyfileobj(stream, self.wfile, 1 << 20)

    def _send(self, status: HTTPStatus, kind: str = "text/plain", body: bytes = b"") -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int, policy: str = "") -> None:
        self.send_response(status)
        own = {"Content-Security-Policy": policy or _policy(b""), "Content-Type": kind, "Content-Length": str(length)}
        for name, value in {**_HEADERS, **own}.items():
            if status is not HTTPStatus.NO_CONTENT or not name.startswith("Content-Length"):
                self.send_header(name, value)
        self.end_headers()

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the browser has gone
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are nobody's news."""
