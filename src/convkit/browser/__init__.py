"""Models in a real browser: a page served on loopback, headless Chromium that runs it, and what the two report."""
