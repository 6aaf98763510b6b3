"""The shipped dashboards, and how they get into a Grafana."""
