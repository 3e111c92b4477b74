"""The loopback server: only the files that it was given, only to who knows the secret, only on the loopback address."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from convkit.browser.server import PageServer
from convkit.errors import UsageError


@pytest.fixture
def server(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<script type="importmap">{"imports": {}}</script>')
    (tmp_path / "private.txt").write_text("private")
    server = PageServer()
    server.add_file("page/page.html", page)
    server.add_file("gone.bin", tmp_path / "gone.bin")
    server.add_answer("data", lambda: b"\0\1")
    server.add_answer("nothing", lambda: None)
    yield server
    server.close()


def request(server: PageServer, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def address(server: PageServer, name: str) -> str:
    return server.url(name).removeprefix(f"http://127.0.0.1:{server.port}")


def test_what_it_was_given_is_served(server):
    status, headers, body = request(server, "GET", address(server, "page/page.html"))
    assert status == 200
    assert body.startswith(b"<script")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy
    assert "'sha256-" in policy  # of the import map alone
    assert request(server, "GET", address(server, "data"))[2] == b"\0\1"
    assert request(server, "GET", address(server, "nothing"))[0] == 204


@pytest.mark.parametrize(
    "name",
    [
        "",
        "page",
        "page/",
        "private.txt",
        "page/../private.txt",
        "page/%2e%2e/private.txt",
        "page//page.html",
        "gone.bin",
        "/etc/passwd",
    ],
)
def test_nothing_else_is(server, name):
    status, _, body = request(server, "GET", address(server, name))
    assert status == 404
    assert body == b""


def test_the_secret_is_needed(server):
    for path in ("/", "/page/page.html", "/x/page/page.html", address(server, "page/page.html").replace("/page/", "x/page/", 1)):
        assert request(server, "GET", path)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "attacker.example", "attacker.example:80", "127.0.0.1", "127.0.0.1:1"])
def test_another_name_for_the_address_is_refused(server, host):
    assert request(server, "GET", address(server, "data"), Host=host)[0] == 403


def test_what_a_page_posts(server):
    received: list[bytes] = []
    server.add_receiver("results", received.append)
    path = address(server, "results")
    assert request(server, "POST", path, json.dumps([1]).encode())[0] == 204
    assert request(server, "POST", path, b"x", Origin=f"http://127.0.0.1:{server.port}")[0] == 204
    assert request(server, "POST", path, b"x", Origin="https://attacker.example")[0] == 404
    assert request(server, "POST", address(server, "data"), b"x")[0] == 404
    assert request(server, "POST", path, None, **{"Content-Length": str(1 << 40)})[0] == 413
    assert request(server, "PUT", path, b"x")[0] == 501
    assert received == [b"[1]", b"x"]


def test_a_port_that_is_taken(server):
    with pytest.raises(UsageError, match="no page can be served") as caught:
        PageServer(server.port)
    assert "--port" in caught.value.hint


def test_two_servers_have_two_secrets(server):
    other = PageServer()
    try:
        assert Path(address(server, "")).parts[1] != Path(address(other, "")).parts[1]
    finally:
        other.close()
