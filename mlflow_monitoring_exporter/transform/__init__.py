"""Pure functions from runs to gauges and samples."""
