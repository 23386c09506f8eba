"""Moving entries: out of a store into a file, and from files and other caches into a store."""
