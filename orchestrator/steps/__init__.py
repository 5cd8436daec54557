"""Side effects: one outside system per file, and nothing else in the durable side talks to one."""
