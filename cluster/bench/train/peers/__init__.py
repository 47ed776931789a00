"""What our steps are held against, each a process of its own: TRL, a bare loop, our step without our loop, plain DDP, `generate`."""
