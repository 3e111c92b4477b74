"""Tracers: what every operator of a model computes, told by the runtime that computes it. One file a format."""
