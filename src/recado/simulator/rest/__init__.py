"""Twilio's REST API: messages, media, content, typing. Plain ASGI, since every message of a benchmark passes here."""
