"""How much of a converted model runs on XNNPACK, and what falls back to slower kernels: measured on the file that was written."""
