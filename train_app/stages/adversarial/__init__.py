"""Adversarial rounds: rollouts, rewards, advantages, losses, guards."""
