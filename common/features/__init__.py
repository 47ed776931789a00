"""From raw rows to what a prompt may say of a user."""
