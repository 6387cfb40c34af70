"""Trace a truncated network into a straight program, and fuse its operations."""
