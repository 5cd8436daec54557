"""The embedded engine: the SDK's state machine, durable in one process."""
