"""What the pages are made of, and where on a server it is."""

from __future__ import annotations

from pathlib import Path

import convkit.javascript
from convkit.browser.server import PageServer
from convkit.workers.node_environments import NodeEnvironment

__all__ = ["add_litert", "add_onnx", "add_page", "add_tfjs"]

_PAGE = Path(__file__).with_name("page")
_SHARED = Path(convkit.javascript.__file__).parent
_TFJS = ("core", "converter", "layers", "backend-cpu", "backend-wasm", "backend-webgl", "backend-webgpu")


def add_page(server: PageServer) -> None:
    """The pages with their scripts and styles, and the scripts that they share with Node."""
    server.add_folder("page", _PAGE, ".html", ".css", ".mjs")
    server.add_folder("javascript", _SHARED, ".mjs")


def add_tfjs(server: PageServer, toolchain: NodeEnvironment) -> None:
    """TF.js: its scripts, and the WebAssembly of its wasm backend."""
    packages = toolchain.node_modules / "@tensorflow"
    for part in _TFJS:
        script = packages / f"tfjs-{part}" / "dist" / f"tf-{part}.min.js"
        server.add_file(f"packages/tfjs-{part}.js", script)
    server.add_folder("packages/tfjs-wasm", packages / "tfjs-backend-wasm" / "dist", ".wasm")


def add_onnx(server: PageServer, toolchain: NodeEnvironment) -> None:
    """ONNX Runtime Web, with its WebAssembly."""
    server.add_folder("packages/ort", toolchain.node_modules / "onnxruntime-web" / "dist", ".mjs", ".wasm")


def add_litert(server: PageServer, toolchain: NodeEnvironment) -> None:
    """LiteRT.js, with its WebAssembly."""
    packages = toolchain.node_modules / "@litertjs"
    server.add_file("packages/litert/index.js", packages / "core" / "dist" / "index.js")
    server.add_file("packages/litert-utils/index.js", packages / "wasm-utils" / "dist" / "index.js")
    server.add_folder("packages/litert-wasm", packages / "core" / "wasm", ".js", ".wasm")
