"""Callbacks: tokens, what a settled wait holds, settling it, and waiting for it."""
