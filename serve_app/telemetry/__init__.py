"""What is told of serving while it runs: metrics, spans, and the one way in which both are taken."""
