"""Converters of third parties: found by entry point, planned, run in a worker; broken ones cost nothing but themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Stands for the library that the example in CONTRIBUTING.md drives: it "converts" by giving out a file made before.
LIBRARY = """
import os, pathlib, shutil

class Model:
    def rename(self, signature):
        assert str(signature) == "image: float32[batch,1,8,8] → logits: float32[batch,10]"

    def write(self, output):
        shutil.copy(os.environ["CONVERTED_BEFORE"], output)

def read(path):
    assert pathlib.Path(path).exists()
    pathlib.Path(os.environ["WHO_CONVERTED"]).write_text(str(os.getpid()))
    return Model()
"""


def example(section: str = "Add a converter") -> str:
    """The code of a section of CONTRIBUTING.md, by default the converter."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(rf"## {section}.*?```python\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


class Site:
    """A directory of installed packages, and convkit with it on its path."""

    def __init__(self, directory: Path, model) -> None:
        self.directory = directory
        self.model = model("digits_cnn", "onnx")
        self.converter = directory / "who_converted"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(directory),
            "CONVERTED_BEFORE": str(model("digits_cnn", "tflite")),
            "WHO_CONVERTED": str(self.converter),
        }

    def install(self, name: str, modules: dict[str, str], entry_points: dict[str, str] | None = None) -> None:
        for path, content in modules.items():
            (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
            (self.directory / path).write_text(content)
        info = self.directory / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"[convkit.{kind}]\n{point}\n" for kind, point in (entry_points or {}).items()]
        (info / "entry_points.txt").write_text("\n".join(lines))

    def install_example(self) -> None:
        self.install("my-library", {"my_library.py": LIBRARY})
        modules = {"my_package/__init__.py": "", "my_package/my_converter.py": example()}
        self.install("my-package", modules, {"converters": "my-converter = my_package.my_converter"})

    def convkit(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "convkit.cli.main", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment, cwd=self.directory, timeout=120
        )


@pytest.fixture
def site(tmp_path, model):
    return Site(tmp_path, model)


def test_the_example_of_the_guide_is_planned_and_converts_in_a_worker(site):
    site.install_example()
    done = site.convkit("plan", site.model, "--to", "litert")
    assert done.returncode == 0, done.stderr
    assert "my-converter (my-library 1.2), handles what the others do not" in done.stdout
    output = site.directory / "out.tflite"
    done = site.convkit("convert", site.model, "--to", "litert", "--route", "my-converter", "-o", output, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "proved"
    assert report["versions"]["my-library"] == "1.2"
    assert "what the user should know" in json.dumps(report["attempts"])
    assert int(site.converter.read_text()) > 0
    assert output.read_bytes() == Path(site.environment["CONVERTED_BEFORE"]).read_bytes()


def test_a_plugin_whose_library_is_missing_costs_its_route_only(site):
    modules = {"my_package/__init__.py": "", "my_package/my_converter.py": example()}
    site.install("my-package", modules, {"converters": "my-converter = my_package.my_converter"})
    done = site.convkit("plan", site.model, "--to", "litert")
    assert done.returncode == 0, done.stderr
    assert "pip install my-library" in done.stdout
    done = site.convkit("convert", site.model, "--to", "litert", "--route", "my-converter")
    assert done.returncode == 3
    assert "my-library" in done.stderr


def test_the_metric_of_the_guide_measures_outputs_of_its_kind_and_holds_those_that_ask(site):
    modules = {"my_package/__init__.py": "", "my_package/my_metric.py": example("Add a metric")}
    site.install("my-package", modules, {"validators.metrics": "my-metric = my_package.my_metric"})
    other = site.environment["CONVERTED_BEFORE"]
    done = site.convkit(
        "validate", site.model, other, "--json", "--metric", "logits=exact-share>=1.5", "--no-locate", "--no-shrink"
    )
    assert done.returncode == 1, done.stderr
    outputs = [o for result in json.loads(done.stdout)["sets"] for o in result["outputs"]]
    assert outputs and all(0 <= o["metrics"]["exact-share"] <= 1 for o in outputs)
    assert all("exact-share is" in o["problem"] and "not >= 1.5" in o["problem"] for o in outputs)


def install_broken(site: Site) -> None:
    broken = {
        "raises": "raise RuntimeError('made for another version')",
        "exits": "import sys; sys.exit('no licence')",
        "misspelt": "import convkit.componnts",
        "empty": "",
        "wrong_kind": "CONVERTER = 'my converter'",
    }
    for name, content in broken.items():
        site.install(f"plugin-{name}", {f"plugin_{name}.py": content}, {"converters": f"{name} = plugin_{name}"})
    site.install("plugin-metric", {"plugin_metric.py": "METRIC = 0.5"}, {"validators.metrics": "half = plugin_metric"})
    site.install("plugin-runtime", {"plugin_runtime.py": "RUNTIME = None"}, {"runtimes": "odd = plugin_runtime"})


_SAID = {
    "raises": "made for another version",
    "exits": "no licence",
    "misspelt": "componnts",
    "empty": "no CONVERTER",
    "wrong_kind": "no CONVERTER",
    "odd": "no RUNTIME",
    "half": "no METRIC",
}


def test_broken_plugins_are_skipped_and_remembered(site):
    install_broken(site)
    done = site.convkit("plan", site.model, "--to", "litert")
    assert done.returncode == 0, done.stderr
    assert "onnx2tf" in done.stdout
    code = "import json; from convkit.registry import broken_plugins; print(json.dumps(broken_plugins()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=site.environment)
    why = {name.partition(" ")[0]: text for name, text in json.loads(found.stdout).items()}
    assert set(why) == set(_SAID)
    for name, text in _SAID.items():
        assert text in why[name]


@pytest.mark.slow
def test_the_doctor_names_broken_plugins(site):
    install_broken(site)
    done = site.convkit("doctor")
    assert done.returncode == 1
    for name, text in _SAID.items():
        assert re.search(rf"BROKEN +plugin {name} .*{text}", done.stdout), name


def test_two_converters_of_one_name_are_an_error(site):
    site.install_example()
    site.install("other-package", {"other_package.py": example()}, {"converters": "x = other_package"})
    for command in ("plan", "convert"):
        done = site.convkit(command, site.model, "--to", "litert")
        assert done.returncode == 2
        assert "two converters are called 'my-converter'" in done.stderr
        assert "my_package.my_converter" in done.stderr
        assert "other_package" in done.stderr
    assert site.convkit("inspect", site.model).returncode == 0
