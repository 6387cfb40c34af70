"""Files of a cache: manifest, envelope, HDF5 shards, and where they are."""
