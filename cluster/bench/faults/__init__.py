"""`make faults`: what is broken while pages flow, and whether what came back is as promised. `history` judges, the others break."""
