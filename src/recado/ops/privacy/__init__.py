"""Personal data: where it is, how a person gets a copy of theirs, and how all of it goes."""
