"""Backup and restore: a set that is whole or not at all, and what has to be known before a restored one may speak."""
