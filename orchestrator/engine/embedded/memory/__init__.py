"""What the embedded engine holds: the SDK's state with indexes, kept small."""
