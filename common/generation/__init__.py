"""From contexts to candidate texts and to the one answer."""
