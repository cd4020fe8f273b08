"""Work that is cut into pieces for the machines of a cluster, and goes on where it was broken off."""
