"""The HTML face as a person sees it: two widths, light and dark, search, filters, the keyboard, no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from devtools import CONTRAST, assert_fits, opened
from report_examples import documents

from convkit.reports import writing

SVG_CONTRAST = """(back, text) => {
  const level = (colour) => {
    const parts = colour.match(/[\\d.]+/g).map((v) => v / 255);
    const [r, g, b] = parts.map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const [a, b] = [level(back), level(text)];
  return Math.max(a, b) / Math.min(a, b);
}"""
SHOWN = "document.querySelectorAll('tr[data-kind]:not([hidden])').length"


@pytest.fixture(scope="module")
def browser():
    with opened() as page:
        yield page


@pytest.mark.parametrize("kind", sorted(documents()))
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(kind: str, width: int, height: int, scheme: str, browser, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.html"
    writing.write(documents()[kind], path)
    before = len(browser.complaints)
    browser.show(path.as_uri(), width, height, scheme)
    browser.wait_for(f"document.readyState === 'complete' && location.href === '{path.as_uri()}'")
    assert_fits(browser)
    dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    for selector in ("body", "dt", ".verdict", "caption", "footer"):
        assert browser.evaluate(f"({CONTRAST})(document.querySelector('{selector}'))") >= 4.5, selector
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    if kind == "check":
        for marked in ("gap", "legal", "changed"):
            box = f"document.querySelector('.graph .{marked}')"
            fill, text = (f"getComputedStyle({box}.querySelector('{part}')).fill" for part in ("rect", "text"))
            assert browser.evaluate(f"({SVG_CONTRAST})({fill}, {text})") >= 4.5, marked
        assert browser.evaluate("document.querySelector('.canvas').scrollWidth > document.querySelector('.canvas').clientWidth")
    browser.screenshot(tmp_path / "shot.png")
    assert (tmp_path / "shot.png").stat().st_size > 10_000
    assert browser.complaints[before:] == []


def test_search_filters_and_keyboard(browser, tmp_path: Path) -> None:
    path = tmp_path / "check.html"
    writing.write(documents()["check"], path)
    browser.show(path.as_uri(), 1280, 900)
    browser.wait_for(f"document.readyState === 'complete' && location.href === '{path.as_uri()}'")
    assert browser.evaluate(SHOWN) == 5
    browser.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: '/'}))")
    assert browser.evaluate("document.activeElement.type") == "search"
    browser.send("Input.insertText", text="maxroi net.py")
    assert browser.evaluate(SHOWN) == 2
    browser.evaluate("document.activeElement.value = ''; document.querySelector('form').dispatchEvent(new Event('input'))")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.value") == "gap"
    browser.evaluate("document.activeElement.click()")
    assert browser.evaluate(SHOWN) == 2
    assert browser.evaluate("document.querySelector('output').textContent") == "2 of 5"
