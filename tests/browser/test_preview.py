"""The preview's page in headless Chromium: three formats, two widths, two schemes, the keyboard, hostile names."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from devtools import CONTRAST, assert_fits, opened

from convkit import api
from convkit.cli.main import run
from convkit.errors import UsageError

DONE = "document.getElementById('status').textContent.includes('backends that ran')"
HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.mark.parametrize(("kind", "backends"), [("onnx", {"wasm", "webgpu"}), ("tflite", {"wasm"})])
def test_other_formats_run_in_their_own_runtimes(model, kind, backends, pool):
    with api.preview(model("digits_cnn", kind), pool=pool) as page:
        report = page.measure(120)
    assert report.agrees
    ran = {b["backend"]: b for b in report.backends if b["state"] == "agrees"}
    assert set(ran) >= backends
    assert all(b["latency_ms"] > 0 and b["difference"] < 1e-5 for b in ran.values())


def test_the_command_prints_what_the_page_measured(network, capsys):
    assert run(["preview", str(network), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agrees"] is True
    states = {b["backend"]: b["state"] for b in told["backends"]}
    assert states == dict.fromkeys(("cpu", "wasm", "webgl", "webgpu"), "agrees")


def hostile_model(path: Path) -> Path:
    helper = onnx.helper
    one = helper.make_tensor_value_info(HOSTILE, onnx.TensorProto.FLOAT, ["n", 2])
    two = helper.make_tensor_value_info("y" * 200, onnx.TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph([helper.make_node("Relu", [HOSTILE], ["y" * 200])], "g", [one], [two])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_page(network, tmp_path, pool):
    with opened() as browser:
        with api.preview(network, pool=pool) as page:
            browser.show(page.url, 1280, 900)
            browser.wait_for(DONE)
            assert browser.evaluate("document.querySelectorAll('.badge.agrees').length") == 3
            assert browser.evaluate("document.querySelectorAll('#signature tbody tr').length") == 3
            assert_fits(browser)
            assert_keyboard(browser)
            light = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            browser.screenshot(tmp_path / "wide.png")

            browser.show(page.url, 390, 844, "dark")
            browser.wait_for(DONE)
            assert_fits(browser)
            assert browser.evaluate("getComputedStyle(document.body).backgroundColor") != light
            for selector in ("body", ".muted", ".badge.agrees", ".note", "thead th", "button"):
                assert browser.evaluate(f"({CONTRAST})(document.querySelector({json.dumps(selector)}))") >= 4.5, selector
            browser.screenshot(tmp_path / "narrow.png")
        with api.preview(hostile_model(tmp_path / "m.onnx"), pool=pool) as page:
            browser.show(page.url, 390, 844)
            browser.wait_for(DONE)
            assert browser.evaluate("document.title") == "m.onnx · convkit preview"
            assert browser.evaluate("document.querySelectorAll('img').length") == 0
            assert HOSTILE in browser.evaluate("document.getElementById('signature').textContent")
            assert_fits(browser)
        assert browser.complaints == []
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("wide.png", "narrow.png"))


def assert_keyboard(browser) -> None:
    """Everything can be reached and used without a pointer."""
    reached = []
    while not {"again", "sets", "scroll", "signature"} <= set(reached):
        browser.press("Tab")
        reached.append(browser.evaluate("document.activeElement.id || document.activeElement.className"))
        assert len(reached) < 20, reached
    while browser.evaluate("document.activeElement.id") != "again":
        browser.press("Tab")
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.evaluate("document.getElementById('status').textContent = ''")
    browser.press("Enter")
    browser.wait_for(DONE)


def test_what_no_browser_runs_is_refused(model):
    with (
        pytest.raises(UsageError, match="no browser runs") as caught,
        api.preview(model("digits_cnn", "pt2")),
    ):
        pass
    assert "--to tfjs" in caught.value.hint
