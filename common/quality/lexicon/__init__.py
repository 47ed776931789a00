"""A lexicon's rules against a text: as it is written, and as a person reads it who is not taken in by a disguise."""
