"""Shrinks a model that is not converted, or drifts, to the few operators that still show it, and writes them up for a report.

Delta debugging (A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002) over the
nodes of an ONNX graph or of an exported program; what goes into the nodes that are kept becomes an input.
"""
