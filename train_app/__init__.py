"""From raw data to a bundle."""
