"""E-mail over SMTP and by Resend: message, layout, headers and DKIM."""
