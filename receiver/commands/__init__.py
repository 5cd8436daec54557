"""Commands for operators: the doctor, fresh keys, the notebook."""
