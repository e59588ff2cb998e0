"""Rows that a user brings: read, checked, divided and scaled."""
