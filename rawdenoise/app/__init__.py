"""What a user can ask for, without a terminal: records in, records out."""
