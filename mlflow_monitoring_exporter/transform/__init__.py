"""From runs to gauges and samples, without input and output.

Most of it is functions. What goes on from one poll to the next (``Overview``, its tables and their aggregates,
``Gauges``, ``SnapshotMapping``) keeps state, says so, and is changed by methods that are called for it.
"""
