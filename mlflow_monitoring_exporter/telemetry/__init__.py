"""What the daemon says about itself: logs, self metrics, readiness."""
