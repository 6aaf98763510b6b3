"""Runs in tables of one's own: SQLite or PostgreSQL, through SQLAlchemy."""
