"""Third parties that send webhooks: their sources, secrets and deliveries."""
