"""A trial: workflows in the memory of a test, under a clock that the test moves."""
