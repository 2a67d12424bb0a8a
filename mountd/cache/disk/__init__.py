"""The disk tier: bytes of object versions that survive the process, within one ceiling for the whole node."""
