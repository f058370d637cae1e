"""What Kettle's pools guarantee beyond the standard library's; the common guarantees are tested in `twins`."""
