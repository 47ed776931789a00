"""What training, tuning, serving and the client agree on. Imports neither ray nor fastapi; see ARCHITECTURE.md for the order of its folders."""
