r"""What a model does in production, folded in the serving process: a prediction is a few additions in memory.

::

    log_prediction --> counts (a mapped file of this process)  --totals--> /metrics here, and of the daemon beside
                   \-> rows of features --every window--> a file of this process
    leader, one process of the machine: every window, totals and features --> an MLflow run of the deployment

docs/how-to/monitor-production.md is the guide.
"""
