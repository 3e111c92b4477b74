"""The kernels that only ExecuTorch has, one family a file."""
