"""`make bench-train`: training steps beside peers. `run.py` is the benchmark; each other module is one variant, a process of its own."""
