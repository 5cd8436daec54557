"""Callbacks: their tokens, opening and awaiting a wait, settling it, and what a settled wait holds."""
