"""What crosses HTTP, for server, client, page and bench alike."""
