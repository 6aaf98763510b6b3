"""The daemon's own pages: /metrics, /livez, /readyz."""
