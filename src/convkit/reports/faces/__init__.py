"""The faces of a report, one module each, found by being there: a `FACE` with its suffixes and its `render` function."""
