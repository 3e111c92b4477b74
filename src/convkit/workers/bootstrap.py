"""The script that a worker process runs; it makes convkit importable and hands over to `convkit.workers.host`.

It is started by path, because a toolchain's environment has no convkit in it: only this package is made visible there,
not the rest of the directory that it is installed in.
"""

import importlib.util
import sys
from pathlib import Path


def _expose_convkit() -> None:
    package = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location("convkit", package / "__init__.py", submodule_search_locations=[str(package)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["convkit"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    sys.path.pop(0)  # this script's own directory: its module names are nobody's business
    _expose_convkit()
    from convkit.workers.host import serve

    serve(int(sys.argv[1]), int(sys.argv[2]))
