"""The proof in headless Chromium: agreement, drift, what a backend lacks, and what is left behind."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import numpy as np
import psutil
import pytest
from browser_models import write_network
from tfjs_models import node, specs, write_graph

from convkit import api
from convkit.browser import chromium
from convkit.cli.main import run
from convkit.errors import ToolchainError, UsageError
from convkit.signature import Signature
from convkit.workers.locations import cache_directory
from convkit.workers.pool import fresh_pool


def browsers() -> list[int]:
    """The Chromiums among the descendants of this process."""
    return [p.pid for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]


def test_every_backend_proves_a_model(network, pool):
    report = api.validate_in_browser(network, network, seeds=2, pool=pool)
    assert report.verdict.value == "proved"
    assert list(report.backends) == ["wasm", "webgl", "webgpu"]
    assert report.absent == {}
    for name, backend in report.backends.items():
        assert [s.recipe for s in backend.sets] == ["seed 0, batch=2", "seed 1, batch=3", "zeros, batch=2"]
        assert name in backend.target_runtime
        assert report.browser in backend.target_runtime
        assert backend.required < 1e-5
        assert backend.tolerances["best"].relative == 0  # an index is right or wrong
    assert report.driver
    webgl = report.backends["webgl"]
    assert report.driver in webgl.target_runtime
    assert report.adapter
    assert report.adapter in report.backends["webgpu"].target_runtime
    assert webgl.tolerances["scores"].relative == (1e-2 if report.software_driver else 1e-4)
    assert report.backends["wasm"].tolerances["scores"].relative == 1e-4
    assert browsers() == []
    assert not [p for p in (cache_directory() / "browser").iterdir() if p.name.startswith(f"{os.getpid()}-")]


def test_drift_is_found_and_is_exit_code_1(network, tmp_path, capsys):
    other = write_network(tmp_path, factor=1.1)
    assert run(["validate", str(network), str(other), "--browser", "--seeds", "1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "drift"
    assert told["failures"] == {}
    for backend in ("wasm", "webgl", "webgpu"):
        report = told["backends"][backend]
        assert 0.05 < report["summary"]["required_tolerance"] < 0.2
        # What differs is a factor; it is looked into in the browser, on the backend.
        assert backend in report["drift"]["target_tracer"] and report["drift"]["source_tracer"] == "TF.js"
        assert report["drift"]["suspects"] and report["drift"]["tolerated"] >= 1e-4


def test_a_browser_without_webgpu_is_said_to_have_none(network, tmp_path, monkeypatch):
    """A browser of its own, as the users of one without WebGPU have it; what is absent is no failure."""
    wrapper = tmp_path / "browser"
    flags = "|".join(chromium.SOFTWARE_WEBGPU)
    wrapper.write_text(
        "#!/bin/bash\nkept=()\n"
        f'for flag in "$@"; do case "$flag" in {flags}) ;; *) kept+=("$flag");; esac; done\n'
        f'exec {chromium.executable()} "${{kept[@]}}"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("CONVKIT_CHROMIUM", str(wrapper))
    with fresh_pool() as fresh:
        report = api.validate_in_browser(network, network, seeds=1, pool=fresh)
    assert report.verdict.value == "proved"
    assert list(report.backends) == ["wasm", "webgl"]
    assert report.adapter == ""
    assert "has no webgpu on this machine" in report.absent["webgpu"]
    assert report.to_json()["absent"] == report.absent


def test_a_kernel_that_one_backend_lacks(tmp_path, pool):
    text = base64.b64encode(b"ij,jk->ik").decode()
    product = node("y", "Einsum", ["x", "x"], equation={"s": text}, N={"i": "2"})
    path = write_graph(tmp_path, Signature(specs("x[3,3]"), specs("y[3,3]")), [product])
    report = api.validate_in_browser(path, path, seeds=1, pool=pool)
    assert report.verdict.value == "failed"
    assert {name: backend.verdict.value for name, backend in report.backends.items()} == {"webgl": "proved", "webgpu": "proved"}
    assert "the backend wasm has no kernel for the operator Einsum" in report.failures["wasm"]


def test_only_tfjs_models_run_here(network, model):
    with pytest.raises(UsageError, match="--browser runs TF"):
        api.validate_in_browser(network, model("digits_cnn", "onnx"))


def test_no_chromium(network, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match="no Chromium is installed") as caught:
        chromium.executable()
    assert "apt-get install chromium" in caught.value.hint
    monkeypatch.setenv("CONVKIT_CHROMIUM", str(tmp_path / "mine"))
    with pytest.raises(ToolchainError, match="mine is no program"):
        chromium.executable()


def test_the_page_reaches_nobody_but_its_server(tmp_path):
    """Not the network, not the machine's files: a page in this browser sees its own server alone."""
    from convkit.browser.server import PageServer

    (tmp_path / "page.html").write_text('<script type="module" src="page.mjs"></script>')
    (tmp_path / "page.mjs").write_text(
        "const tried = await Promise.all(['https://localhost/', 'http://example.org/', 'file:///etc/passwd', '../data'].map("
        "(url) => fetch(url).then(() => true, () => false)));"
        "await fetch('../results', { method: 'POST', body: JSON.stringify(tried) });"
    )
    received: list[bytes] = []
    server = PageServer()
    server.add_folder("page", tmp_path, ".html", ".mjs")
    server.add_answer("data", lambda: b"data")
    server.add_receiver("results", received.append)
    browser = chromium.Chromium(server.url("page/page.html"))
    try:
        wait_until(lambda: received)
    finally:
        browser.close()
        server.close()
    assert json.loads(received[0]) == [False, False, False, True]


def wait_until(done, seconds: float = 60) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_profiles_of_dead_processes_are_removed(network):
    directory = cache_directory() / "browser"
    directory.mkdir(parents=True, exist_ok=True)
    dead = directory / f"{2**22 + 1}-left"  # above the largest process number
    (dead / "data").mkdir(parents=True, exist_ok=True)
    chromium._new_profile().rmdir()
    assert not Path(dead).exists()


def test_the_browser_computes_what_node_computes(network):
    """To the bit: the cpu backend is the same JavaScript in the same engine."""
    from convkit.artifact import Artifact
    from convkit.browser import tfjs as in_browser
    from convkit.formats import Variant
    from convkit.runtimes import tfjs as in_node

    artifact = Artifact(Variant.TFJS_GRAPH, network)
    feeds = {"image": np.random.default_rng(3).standard_normal((2, 8, 8, 2)).astype(np.float32)}
    try:
        there = in_browser.load(artifact, "cpu")
        here = in_node.load(artifact, "cpu")
        for name, array in here.run(feeds).items():
            np.testing.assert_array_equal(there.run(feeds)[name], array)
        inside = there.intermediates(feeds, ["positive"])["positive"]
        np.testing.assert_array_equal(inside, here.intermediates(feeds, ["positive"])["positive"])
    finally:
        in_browser.close()
