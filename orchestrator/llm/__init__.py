"""A language model behind an OpenAI-compatible chat API: one question, one text."""
