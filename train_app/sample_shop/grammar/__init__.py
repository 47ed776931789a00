"""The tables that the writer draws from and the judge parses with."""
