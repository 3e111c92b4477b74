"""Speed, memory and coverage, measured against the bare libraries; what the README quotes comes from here."""
