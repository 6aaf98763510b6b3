"""The source of grafana/dashboards: `make dashboards` writes the files, which are what Grafana reads."""
