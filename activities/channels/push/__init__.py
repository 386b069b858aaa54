"""Push: Firebase Cloud Messaging and Web Push."""
