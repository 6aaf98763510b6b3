"""Weights & Biases, through its own client, in a process of its own."""
