"""Validators: inputs that suit a model, tolerances with reasons, and the comparison of outputs."""
