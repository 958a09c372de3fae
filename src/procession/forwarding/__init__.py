"""Log records, warnings, context variables and settings: both sides of their way."""
