"""What the order examples own."""
