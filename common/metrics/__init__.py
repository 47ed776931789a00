"""What reports measure, on strings and arrays."""
