"""The benchmark: what the service does in a second, beside others on the same machine."""
