"""A business domain as data: controls, facts, lexicon, knowledge, templates."""
