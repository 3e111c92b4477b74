"""JUnit XML: a test suite per route or comparison, for continuous integration that shows test results.

The dialect of the Jenkins plugin (https://github.com/jenkinsci/xunit-plugin, junit-10.xsd), which others read too.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from convkit.components import Face
from convkit.reports.document import Comparison, Document, RouteSection

__all__ = ["FACE"]

# What XML 1.0 cannot hold (https://www.w3.org/TR/xml/#charsets); names come from files.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(document: Document) -> str:
    """One suite per route, an operator a case; one for the comparisons, an output over an input set a case."""
    root = ElementTree.Element("testsuites", name=_clean(f"convkit {document.kind}: {document.title}"))
    for route in document.routes:
        _route(root, route)
    if document.comparisons:
        suite = _suite(root, "validation", len(document.comparisons), sum(not c.passed for c in document.comparisons))
        for comparison in document.comparisons:
            _comparison(suite, comparison)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _route(root: ElementTree.Element, route: RouteSection) -> None:
    findings = route.findings or ()
    broken = bool(route.error) and not route.gaps
    suite = _suite(root, route.name, len(findings) + broken, len(route.gaps) + broken)
    for finding in findings:
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(route.name), name=_clean(finding.operator))
        if finding in route.gaps:
            failure = ElementTree.SubElement(case, "failure", type=finding.code, message=_clean(finding.reason))
            failure.text = _clean(str(finding))
    if broken:
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(route.name), name="conversion")
        ElementTree.SubElement(case, "failure", type="conversion", message=_clean(route.error))


def _comparison(suite: ElementTree.Element, comparison: Comparison) -> None:
    name = _clean(f"{comparison.output} ({comparison.recipe})")
    case = ElementTree.SubElement(suite, "testcase", classname="validation", name=name)
    if not comparison.passed:
        ElementTree.SubElement(case, "failure", type="drift", message=_clean(comparison.failure))


def _suite(root: ElementTree.Element, name: str, tests: int, failures: int) -> ElementTree.Element:
    counts = {"name": _clean(name), "tests": str(tests), "failures": str(failures), "errors": "0"}
    return ElementTree.SubElement(root, "testsuite", counts)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


FACE = Face("junit", (".xml",), render)
