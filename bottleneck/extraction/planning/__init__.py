"""What an extraction will write, and how long it will take."""
