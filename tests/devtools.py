"""Chromium driven through its debugging pipe, to look at a page as a person does."""

from __future__ import annotations

import base64
import itertools
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convkit.browser import chromium


class Page:
    """One page; commands and events of the DevTools protocol, each a JSON text that ends with a NUL."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.complaints: list[str] = []
        """What the page wrote to its console as errors and warnings, and what its policy forbade."""
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._send(method, parameters, self._session)

    def _send(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\0" not in self._buffer:
                assert selector.select(60), "Chromium does not answer"
                block = os.read(self._answers, 1 << 20)
                assert block, "Chromium has ended"
                self._buffer += block
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))

    def show(self, url: str, width: int, height: int, scheme: str = "light") -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"not within {seconds} s: {expression}"
            time.sleep(0.1)

    def press(self, key: str) -> None:
        code, text = {"Tab": (9, "\t"), "Enter": (13, "\r")}[key]
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def screenshot(self, path: Path) -> None:
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def opened() -> Iterator[Page]:
    """A page in a browser of its own."""
    child_reads, requests = os.pipe()
    answers, child_writes = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # Chromium takes the pipe at descriptors 3 and 4. The copies come first: the originals may lie there.
        launch = (
            "import os, sys; spare = [os.dup2(int(sys.argv[i]), 200 + i) for i in (1, 2)]; "
            "os.dup2(spare[0], 3); os.dup2(spare[1], 4); os.execv(sys.argv[3], sys.argv[3:])"
        )
        command = [str(chromium.executable()), *chromium.FLAGS, "--no-sandbox", "--remote-debugging-pipe"]
        launcher = [sys.executable, "-c", launch, str(child_reads), str(child_writes), *command, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            launcher,
            pass_fds=(child_reads, child_writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_reads)
        os.close(child_writes)
        try:
            yield Page(requests, answers)
        finally:
            process.terminate()
            process.wait(timeout=20)
            os.close(requests)
            os.close(answers)


# WCAG's contrast ratio of an element's text and the nearest background that is painted.
CONTRAST = """(element) => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  let painted = element;
  while (painted && numbers(getComputedStyle(painted).backgroundColor)[3] === 0) painted = painted.parentElement;
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).map((c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [getComputedStyle(element).color, getComputedStyle(painted ?? document.body).backgroundColor]
    .map(luminance).sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}"""


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window, whatever the model's names are."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
