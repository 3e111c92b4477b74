"""XNNPACK's operators with torch's, one family a file."""
