"""What a workflow's `ctx` is: steps, steps of other groups, what is done later."""
