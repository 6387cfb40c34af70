"""ExtractionResult that is killed, starved and refused, and must lose nothing by it."""
