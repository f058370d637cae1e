"""A fault in one process causes an error there, and harms no other process."""
