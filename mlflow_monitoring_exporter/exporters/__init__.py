"""One module per platform, behind one contract."""
