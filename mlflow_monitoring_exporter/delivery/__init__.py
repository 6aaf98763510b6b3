"""One worker per exporter, so that one outage never delays another."""
