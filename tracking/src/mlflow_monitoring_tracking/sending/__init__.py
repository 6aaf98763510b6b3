"""Sending: from the spool to back ends, each at its own pace."""
