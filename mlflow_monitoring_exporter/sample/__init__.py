"""Realistic demo runs.

::

    plan(runs, seed, now) -> Scenario     pure: curves.py, recipes.py, scenario.py
    generate(config, ...)                 writes a whole scenario           (generate.py, writer.py)
    run_live(config, ...)                 keeps a few runs moving           (live.py)

Only this room imports mlflow, and only while it writes.
"""
