"""The HTTP edge. Stateless: everything it answers is read from the engine."""
