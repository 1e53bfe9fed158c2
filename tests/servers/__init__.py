"""Real mail servers for tests: a private Dovecot and a private Postfix on loopback ports of their own."""
