"""What all routes share: the door, doing once and on the version read, problems, lists, forms, and the description."""
