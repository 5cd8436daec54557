"""Third-party webhook senders: their sources, secrets and deliveries."""
