"""What our pools promise beyond the standard library's; what both promise stands in `twins`."""
