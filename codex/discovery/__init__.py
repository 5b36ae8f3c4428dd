"""Finding nodes and content: a distributed hash table over UDP, and the neighbours on the local network."""
