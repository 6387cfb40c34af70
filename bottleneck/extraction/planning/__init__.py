"""What a run is to do: the missing shards, disk space, time."""
