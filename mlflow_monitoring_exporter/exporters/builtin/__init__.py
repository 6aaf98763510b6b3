"""One module per platform; being here is what makes it an exporter type, by the name of the module.

A module names its :class:`~mlflow_monitoring_exporter.exporters.contract.ExporterPlugin` ``plugin``. It is imported
when a configuration uses it, so that its dependencies cost other configurations nothing.
"""
