"""What the operator sets: read once, checked once, secrets masked."""
