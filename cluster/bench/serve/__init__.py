"""What the served graph is held to, one file a question: fuzz (any bytes)."""
