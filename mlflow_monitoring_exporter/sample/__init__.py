"""Realistic demo runs."""
