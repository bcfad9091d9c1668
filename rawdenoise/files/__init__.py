"""Files as a user sees them: sources by their content, what outputs are called, what lies there, sidecars."""
