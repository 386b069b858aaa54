"""Page of the caught mails, for local development."""
