"""Credentials: passwords of mail users, session keys and cookies, the system API key."""
