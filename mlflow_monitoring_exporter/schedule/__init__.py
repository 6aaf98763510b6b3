"""When a poll runs, and what it does."""
