"""Whether a text may be shown: rules, the discriminator, and the one verdict."""
