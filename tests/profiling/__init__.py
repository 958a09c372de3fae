"""What `procession.profile()` records and shows."""
