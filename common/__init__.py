"""What training, tuning, serving and the client agree on. Imports neither ray nor fastapi; ARCHITECTURE.md has the order of its folders."""
