"""Extractions and tunings that are killed or refused by the disk, and must lose nothing."""
