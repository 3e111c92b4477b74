"""ExecuTorch programs (`.pte`) as modules that torch.export traces: the plan of a method, and what XNNPACK holds of it."""
