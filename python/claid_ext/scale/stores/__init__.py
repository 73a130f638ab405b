"""Stores that reach beyond one machine: a server proposes images, files hold their records."""
