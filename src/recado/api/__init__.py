"""The JSON API `/v1`: an owner's things for its programs, by bearer API key, and its people, by a session's cookie.

A module for each noun, with its routes, what is shown of it and what callers give for it: `GET /v1/contacts/{id}` is in
`contacts`. A route is found by the last noun of its path: `POST /v1/conversations/{id}/messages` is in `messages`.
What all routes share is in `shared`.
"""
