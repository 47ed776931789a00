"""Public data sets as raw tables, point-in-time examples, splits."""
