"""What happened in a session: written down as it happens, read back, fed through the core again."""
