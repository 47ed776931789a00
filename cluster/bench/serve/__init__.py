"""What the served graph is held to, a file a question: fuzz (any bytes), engine (beside generate); rehearsal: the graph without a model."""
