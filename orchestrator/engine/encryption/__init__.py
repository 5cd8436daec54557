"""Payloads that are encrypted on their way to the engine and bound to their place."""
