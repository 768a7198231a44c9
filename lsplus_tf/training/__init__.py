"""One run: a config in, a run folder out."""
