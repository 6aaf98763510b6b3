"""Back ends: what takes the records of a spool. contract.py says what one must do."""
