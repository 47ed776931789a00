"""From texts of simulated shops to the starter base: documents, tokenizer, training loop."""
