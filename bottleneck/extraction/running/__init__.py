"""Make shards from codes: write them as they come, here or by workers."""
