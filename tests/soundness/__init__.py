"""What goes wrong in one process is an error there, and harms no other."""
