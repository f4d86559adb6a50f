"""From a distributed file format to a store: one file a format."""
