"""What the operator wants: config.yaml, environment and flags, checked whole."""
