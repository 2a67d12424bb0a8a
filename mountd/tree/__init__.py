"""Names to keys, inodes, listings, attributes that expire."""
