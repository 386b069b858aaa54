"""E-mail: message, layout, DKIM, SMTP relay and Resend."""
