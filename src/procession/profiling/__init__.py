"""`procession.profile()`: what it records, what it works out from that, and how it shows it."""
