"""HTTP in: events, questions, publication, consent and tasks. Every route declares its scope; every refusal is a problem."""
