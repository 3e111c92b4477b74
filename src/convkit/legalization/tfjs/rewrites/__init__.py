"""Rewrites of TensorFlow operators for TF.js, one family a file; found by being here."""
