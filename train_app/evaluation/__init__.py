"""What a bundle is worth, measured with the engine and the verdict that serve it."""
