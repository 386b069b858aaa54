"""Parsing of inbound mails: answers, bounces, complaints."""
