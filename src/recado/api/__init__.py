"""The JSON API `/v1`: an owner's things for an owner's programs, by bearer API key."""
