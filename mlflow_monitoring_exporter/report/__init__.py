"""A report as one file that is opened anywhere: HTML with pictures to look into, or PDF. Needs the extra ``report``."""
