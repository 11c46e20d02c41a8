"""The checks of `recado doctor`, by what they look at; none changes anything."""
