"""From a request to accepted reasons."""
