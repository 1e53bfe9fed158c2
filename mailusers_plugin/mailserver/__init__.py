"""Dovecot, Postfix and the mail store on disk. The only place that starts processes."""
