"""What the embedded engine keeps in memory: the SDK's state with indexes, in compact form."""
