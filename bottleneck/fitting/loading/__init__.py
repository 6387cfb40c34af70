"""The codes that training reads, with their targets: from shards, in memory, or on workers."""
