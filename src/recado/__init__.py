"""recado answers WhatsApp messages with AI over Twilio, for many companies at once."""

__version__ = "0.2.0.dev0"
