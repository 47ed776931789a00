"""Where it runs, and how people reach it."""
