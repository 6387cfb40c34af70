"""Images in columns of tables."""
