"""What operators do by hand: answer an open wait, and remind the people whom a question was put to."""
