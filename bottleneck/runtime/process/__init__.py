"""The process: what it may use, how it starts and stops, settings that are changed for a while."""
