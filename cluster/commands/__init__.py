"""The commands of the CLI, grouped by noun."""
