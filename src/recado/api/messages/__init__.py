"""Messages: what was written, shown and sent."""
