"""Readers: what a file is and holds, told from its bytes, without a framework and without executing anything."""
