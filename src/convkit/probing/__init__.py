"""Probes: every distinct operator signature of a model as a model of its own, converted, run and compared.

A static check reads registries and tables, which may be wrong; a probe has seen the conversion. What it found is kept on disk, by
the digest of the one-operator model and the versions of all that took part, so that a second check of a similar model needs no
framework at all.
"""
