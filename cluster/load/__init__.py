"""What `liyou bench` does: pages sent at their own times, what came back, and whether that keeps a promise."""
