"""`make bench-train`: training steps beside peers. `run.py` is the benchmark, the rest what it runs."""
