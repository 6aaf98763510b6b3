"""The spool: what a process logged, in files that survive it. The format is docs/reference/spool.md."""
