"""The sections of a report: each module turns findings into the markup of one."""
