"""A local Twilio: its REST API in memory, signed webhooks, faults on demand, and a phone in the browser."""
