"""Asking people: the letter, the reminders, the short code."""
