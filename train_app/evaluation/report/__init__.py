"""Reports a person reads: HTML and plots."""
