"""Worker processes: the only place where a framework is imported."""
