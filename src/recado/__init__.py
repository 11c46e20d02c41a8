"""recado answers WhatsApp messages with AI over Twilio, for many companies at once."""

__version__ = "0.1.0"
