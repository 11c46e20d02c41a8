"""Messages: their `routes`, `forms` and `views`, and how what was given becomes something to send (`outgoing`)."""
