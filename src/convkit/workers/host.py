"""The worker's side: reads calls from a pipe, runs them, answers. Runs in any toolchain; needs the standard library only.

One JSON object a line each way. A call names a function as `module:function`; it gets the arguments as keywords and
returns something that JSON holds. Arrays travel in `.npz` files that the arguments name.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["peak_memory", "preload", "serve"]


def preload(modules: Sequence[str]) -> dict[str, str]:
    """Imports modules ahead of the first real call; returns what could not be imported, and why."""
    failed = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resolve(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _describe(error: BaseException) -> dict[str, Any]:
    from convkit.errors import ConvkitError

    if isinstance(error, ConvkitError):
        fields = {k: v for k, v in vars(error).items() if k not in {"message", "log", "report"}}
        return {"convkit": type(error).__name__, "message": error.message, "fields": fields}
    text = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        text = f"the library ended its process (exit status {error.code})"
    return {"convkit": None, "type": type(error).__name__, "message": text[:600]}


def _end_with_parent(parent: int) -> None:
    """Ends this process soon after the one that started it, however that one died."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def serve(requests: int, answers: int) -> None:
    """Answers calls until the request pipe closes.

    Args:
        requests: File descriptor to read calls from.
        answers: File descriptor to write answers to.
    """
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    with os.fdopen(requests, encoding="utf-8") as incoming, os.fdopen(answers, "w", encoding="utf-8") as outgoing:
        for line in incoming:
            call = json.loads(line)
            start = time.perf_counter()
            answer: dict[str, Any] = {"id": call["id"]}
            try:
                answer["result"] = _resolve(call["target"])(**call["arguments"])
            except BaseException as error:
                traceback.print_exc()
                answer["error"] = _describe(error)
            answer["seconds"] = time.perf_counter() - start
            answer["peak_memory"] = peak_memory()
            sys.stdout.flush()
            sys.stderr.flush()
            outgoing.write(json.dumps(answer) + "\n")
            outgoing.flush()
    # Frameworks' own exit handlers have aborted after the work was done and proved; nothing here needs them.
    os._exit(0)
