"""What operators run: the doctor, fresh keys."""
