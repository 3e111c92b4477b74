"""Every face of every kind of report: its own schema, hostile names, and what a reader looks for."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import report_examples
import xmlschema
from report_examples import HOSTILE, documents

from convkit.legalization.codes import CODES
from convkit.registry import faces
from convkit.reports.document import Document

SCHEMAS = Path(__file__).parents[1] / "schemas"
KINDS = sorted(documents())


@pytest.fixture(params=KINDS)
def document(request: pytest.FixtureRequest) -> Document:
    return documents()[request.param]


def rendered(suffix: str, document: Document) -> str:
    return faces()[suffix].render(document)


def test_there_is_a_face_for_every_reader() -> None:
    assert set(faces()) >= {".json", ".md", ".html", ".sarif", ".xml"}


def test_sarif_follows_its_schema(document: Document) -> None:
    log = json.loads(rendered(".sarif", document))
    jsonschema.validate(log, json.loads((SCHEMAS / "sarif-2.1.0.json").read_text()))
    rules = [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]]
    results = log["runs"][0]["results"]
    assert results
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in results)


def test_sarif_points_at_the_users_source() -> None:
    results = json.loads(rendered(".sarif", documents()["check"]))["runs"][0]["results"]
    first, second = results[0]["locations"]
    assert first["physicalLocation"] == {"artifactLocation": {"uri": "net.py"}, "region": {"startLine": 12}}
    assert second["logicalLocations"] == [{"fullyQualifiedName": "head/pool"}]
    assert [r["level"] for r in results] == ["error", "error", "note", "error"]


def test_junit_follows_its_schema(document: Document) -> None:
    text = rendered(".xml", document)
    xmlschema.XMLSchema(SCHEMAS / "jenkins-junit.xsd").validate(text.partition("\n")[2])
    root = ElementTree.fromstring(text.partition("\n")[2])
    failures = sum(int(suite.get("failures", 0)) for suite in root)
    assert failures == len(root.findall(".//failure")) > 0


def test_json_is_the_record(document: Document) -> None:
    assert json.loads(rendered(".json", document)) == json.loads(json.dumps(document.record))


def test_a_checks_json_follows_the_schema_that_is_shipped() -> None:
    schema = json.loads(files("convkit.reports").joinpath("check.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(rendered(".json", documents()["check"])), schema)


def test_markdown_shows_what_blocks_first(document: Document) -> None:
    text = rendered(".md", document)
    assert text.startswith("## ❌ ")
    assert "<img" not in re.sub(r"`[^`]*`", "", text).replace("\\<img", "")  # between backticks it is text
    if document.kind != "validation":
        assert text.index("MaxRoiPool") < text.index("<details>")
        assert "`net.py:12 in forward`" in text
    if document.comparisons:
        assert "**drift**" in text


def test_every_row_of_a_markdown_table_has_its_columns(document: Document) -> None:
    block: list[int] = []
    for line in [*rendered(".md", document).splitlines(), ""]:
        if line.startswith("|"):
            block.append(line.replace("\\|", "").count("|"))
        elif block:
            assert len(set(block)) == 1 and len(block) > 2
            block = []


def test_html_escapes_and_allows_no_foreign_script(document: Document) -> None:
    text = rendered(".html", document)
    assert HOSTILE not in text and "<img" not in text
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_report_without_gaps_passes() -> None:
    document = report_examples.check([report_examples.FINDINGS[3]])
    assert document.passed
    assert json.loads(rendered(".sarif", document))["runs"][0]["results"] == []
    assert rendered(".md", document).startswith("## ✅ ")


def test_every_code_says_what_it_is_and_what_helps() -> None:
    assert len({code.symbol for code in CODES.values()}) == len(CODES)
    for name, code in CODES.items():
        assert name == code.name and code.title and code.explanation and code.way_out
        assert code.level in {"error", "warning", "note"}


@pytest.mark.parametrize("suffix", [".html", ".md", ".sarif", ".xml"])
def test_every_face_says_what_would_have_passed_and_how_far_that_is_from_noise(suffix: str) -> None:
    text = rendered(suffix, documents()["validation"])
    assert "1.7e-01" in text  # of 0.1603, rounded up: typed as it stands, it passes
    assert "1.6e+06 × the noise floor 1.0e-07" in text.replace("\\u00d7", "×").replace("\\", "")


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_metrics_of_an_output_s_kind_are_shown(suffix: str) -> None:
    assert "top-1 agreement 1" in rendered(suffix, documents()["validation"])
