"""Studies: does adversarial training earn its place? Arms x seeds, each seed's arms on one start, compared with intervals."""
