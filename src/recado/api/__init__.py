"""The JSON API `/v1`: an owner's things for its programs, by bearer API key, and its people, by a session's cookie."""
