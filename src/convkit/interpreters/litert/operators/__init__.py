"""LiteRT's operators over PyTorch, one family a file; found by being there."""
