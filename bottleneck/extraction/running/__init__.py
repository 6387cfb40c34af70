"""Make shards: encode images, write them, here or by workers."""
