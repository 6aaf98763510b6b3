"""The tables of ``truth.db``. ``served`` is a deployment, its model and its version as a JSON array."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS journals (name TEXT PRIMARY KEY, offset INTEGER NOT NULL, served TEXT, keep REAL);
CREATE TABLE IF NOT EXISTS shares (deployment TEXT PRIMARY KEY, keep REAL NOT NULL);
CREATE TABLE IF NOT EXISTS predictions (
    deployment TEXT, id TEXT, served TEXT NOT NULL, at_ms INTEGER NOT NULL, prediction TEXT NOT NULL,
    joined INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (deployment, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS predictions_at ON predictions (at_ms);
CREATE TABLE IF NOT EXISTS early (deployment TEXT, id TEXT, at_ms INTEGER, actual TEXT, PRIMARY KEY (deployment, id));
CREATE TABLE IF NOT EXISTS windows (
    served TEXT, end_ms INTEGER, labels INTEGER NOT NULL DEFAULT 0, numbers INTEGER NOT NULL DEFAULT 0,
    absolute REAL NOT NULL DEFAULT 0, squared REAL NOT NULL DEFAULT 0, revision INTEGER NOT NULL DEFAULT 0,
    dirty INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (served, end_ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS confusion (
    served TEXT, end_ms INTEGER, actual TEXT, predicted TEXT, number INTEGER NOT NULL,
    PRIMARY KEY (served, end_ms, actual, predicted)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    deployment TEXT, result TEXT, number INTEGER NOT NULL, PRIMARY KEY (deployment, result)
);
CREATE TABLE IF NOT EXISTS trades (
    deployment TEXT PRIMARY KEY, wins INTEGER, losses INTEGER, flat INTEGER, pnl REAL, peak REAL, drawdown REAL,
    exposure REAL
);
"""
